//go:build unix

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	numClients  = 16
	numAccounts = 200
	// pace is the mean pause of a client between two operations.
	pace = 50 * time.Millisecond
	// giveUpAfter is how long a deposit is repeated until it is acknowledged.
	giveUpAfter = 20 * time.Second
	// attemptTimeout bounds one request.
	attemptTimeout = 5 * time.Second
	// retryPause is the pause between two attempts.
	retryPause = 20 * time.Millisecond
	// Of all operations so many per cent are reads, and of the acknowledged
	// deposits so many are repeated.
	readPercent, repeatPercent = 10, 5
	maxReply                   = 4 << 10
)

// failure is a request that did not succeed, as its caller sees it.
type failure struct {
	at   time.Duration
	kind string
	text string
}

// recorder keeps what clients sent and saw. It draws keys and amounts.
type recorder struct {
	began time.Time

	mu       sync.Mutex
	deposits []Deposit
	reads    []Read
	failures []failure
	drawn    map[string]int // deposits of each account
	broken   error          // the first answer that no fault explains
}

func newRecorder() *recorder { return &recorder{began: time.Now(), drawn: map[string]int{}} }

func (r *recorder) now() time.Duration { return time.Since(r.began) }

// draw returns a new deposit into an account.
func (r *recorder) draw(account string) Deposit {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drawn[account]++
	n := r.drawn[account]
	// A walk through 1..9973 that meets each amount once: sums of a few do not
	// look like another one, and an account stays below what it can hold.
	return Deposit{Account: account, Key: fmt.Sprintf("%s-%d", account, n), Amount: int64(1 + n*4099%9973)}
}

func (r *recorder) deposited(d Deposit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deposits = append(r.deposits, d)
}

func (r *recorder) read(one Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads = append(r.reads, one)
}

// failed records a failure of a load client's request.
func (r *recorder) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure{r.now(), kindOf(err), err.Error()})
}

func (r *recorder) broke(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil {
		r.broken = err
	}
}

// since returns the failures from a time on.
func (r *recorder) since(from time.Duration) []failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []failure
	for _, f := range r.failures {
		if f.at >= from {
			found = append(found, f)
		}
	}
	return found
}

// slowest returns the longest that a deposit took which ended after from.
func (r *recorder) slowest(from time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var longest time.Duration
	for _, d := range r.deposits {
		if d.End >= from {
			longest = max(longest, d.End-d.Start)
		}
	}
	return longest
}

// first returns when a deposit was acknowledged first that began after from, 0
// when none was.
func (r *recorder) first(from time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first time.Duration
	for _, d := range r.deposits {
		if d.Acked && d.Start > from && (first == 0 || d.End < first) {
			first = d.End
		}
	}
	return first
}

// history returns all that was recorded.
func (r *recorder) history(final map[string]Statement) History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return History{Deposits: r.deposits, Reads: r.reads, Final: final}
}

// statusError is an answer other than 200.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// expected reports whether faults explain the error: anything but a refusal.
func expected(err error) bool {
	var status *statusError
	return !errors.As(err, &status) || status.status >= http.StatusInternalServerError
}

// kindOf sorts failures for the report.
func kindOf(err error) string {
	var status *statusError
	var timeout net.Error
	switch {
	case errors.As(err, &status):
		var problem struct {
			Code string `json:"code"`
		}
		if json.Unmarshal([]byte(status.body), &problem) != nil {
			problem.Code = "?"
		}
		return fmt.Sprintf("%d %s", status.status, problem.Code)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "ended"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "other"
}

// client talks to the bank at one address.
type client struct {
	addr string
	http *http.Client
	rec  *recorder
	// quiet clients do not add to the recorded failures.
	quiet bool
}

// newClient returns a client with connections of its own, kept or not.
func newClient(addr string, rec *recorder, keep bool) *client {
	return &client{addr: addr, rec: rec, http: &http.Client{
		Timeout:   attemptTimeout,
		Transport: &http.Transport{DisableKeepAlives: !keep, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute},
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// do sends one request and returns the text of a 200.
func (c *client) do(ctx context.Context, method, path, key, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Tenant-Id", tenant)
	if key != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing depends on it
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", &statusError{resp.StatusCode, string(bytes.TrimSpace(text))}
	}
	return string(text), nil
}

// post sends a deposit once.
func (c *client) post(ctx context.Context, d Deposit) (string, error) {
	return c.do(ctx, http.MethodPost, "/accounts/"+d.Account+"/deposit", d.Key, fmt.Sprintf(`{"amount":%d}`, d.Amount))
}

// persist repeats a request until it succeeds or giveUpAfter has passed.
func (c *client) persist(ctx context.Context, send func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
	defer cancel()
	for {
		text, err := send(ctx)
		if err == nil {
			return text, nil
		}
		if !expected(err) {
			c.rec.broke(err)
			return "", err
		}
		if !c.quiet {
			c.rec.failed(err)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return "", err
		}
	}
}

// deposit puts money into an account, and reports whether that was acknowledged.
func (c *client) deposit(ctx context.Context, account string) (Deposit, bool) {
	d := c.rec.draw(account)
	d.Start = c.rec.now()
	text, err := c.persist(ctx, func(ctx context.Context) (string, error) { return c.post(ctx, d) })
	d.End = c.rec.now()
	if err == nil {
		d.Acked, d.Body = true, text
		if err := json.Unmarshal([]byte(text), &d.Reply); err != nil {
			c.rec.broke(fmt.Errorf("reply %q: %w", text, err))
		}
		if rand.IntN(100) < repeatPercent {
			if again, err := c.persist(ctx, func(ctx context.Context) (string, error) { return c.post(ctx, d) }); err == nil {
				d.Repeats = append(d.Repeats, again)
			}
		}
	}
	c.rec.deposited(d)
	return d, d.Acked
}

// balance asks for the statement of an account.
func (c *client) balance(ctx context.Context, account string) (Statement, error) {
	one := Read{Account: account}
	text, err := c.persist(ctx, func(ctx context.Context) (string, error) {
		one.Start = c.rec.now() // of the attempt that is answered
		return c.do(ctx, http.MethodGet, "/accounts/"+account, "", "")
	})
	if err != nil {
		return Statement{}, err
	}
	one.End = c.rec.now()
	if err := json.Unmarshal([]byte(text), &one.Statement); err != nil {
		return Statement{}, fmt.Errorf("reply %q: %w", text, err)
	}
	c.rec.read(one)
	return one.Statement, nil
}

// run works until stop is closed; what it has begun it ends.
func (c *client) run(ctx context.Context, stop <-chan struct{}) {
	defer c.close()
	for {
		account := accountNo(rand.IntN(numAccounts))
		if rand.IntN(100) < readPercent {
			if _, err := c.balance(ctx, account); err != nil && !expected(err) {
				c.rec.broke(err)
			}
		} else {
			c.deposit(ctx, account)
		}
		select {
		case <-time.After(rand.N(2 * pace)):
		case <-stop:
			return
		}
	}
}

func accountNo(i int) string { return fmt.Sprintf("%04d", i) }

// load is the clients that work all the time.
type load struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// startLoad starts clients at an address.
func startLoad(ctx context.Context, addr string, rec *recorder) *load {
	l := &load{stop: make(chan struct{})}
	for range numClients {
		l.wg.Go(func() { newClient(addr, rec, true).run(ctx, l.stop) })
	}
	return l
}

// end stops the clients and waits for them.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}
