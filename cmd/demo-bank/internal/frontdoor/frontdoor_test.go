package frontdoor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const patience = 10 * time.Second

// node is a fake target: an echo server that first says its name, and a readiness page.
type node struct {
	Target
	listener net.Listener
	ready    atomic.Bool
}

func newNode(t *testing.T, name string, serve func(net.Conn)) *node {
	t.Helper()
	n := &node{listener: listen(t)}
	n.ready.Store(true)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !n.ready.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(page.Close)
	n.Target = Target{Name: name, Addr: n.listener.Addr().String(), ReadyURL: page.URL}
	if serve == nil {
		serve = func(c net.Conn) {
			_, err := io.WriteString(c, name+"\n")
			if err == nil {
				_, err = io.Copy(c, c)
			}
			if err != nil {
				t.Logf("%s: %v", name, err)
			}
		}
	}
	go func() {
		for {
			c, err := n.listener.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c)
				closeConn(c)
			}()
		}
	}()
	return n
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l
}

// door is a running Door with the events of its targets.
type door struct {
	*Door
	t      *testing.T
	addr   string
	events chan string
	stop   context.CancelFunc
	done   chan error
}

func run(t *testing.T, cfg Config, nodes ...*node) *door {
	t.Helper()
	d := &door{t: t, events: make(chan string, 100), done: make(chan error, 1)}
	cfg.Listener = listen(t)
	cfg.Interval = 5 * time.Millisecond
	for _, n := range nodes {
		cfg.Targets = append(cfg.Targets, n.Target)
	}
	cfg.Changed = func(tg Target, ready bool, reason string) {
		if ready {
			d.events <- tg.Name + " ready"
		} else {
			d.events <- tg.Name + " unready: " + reason
		}
	}
	var err error
	if d.Door, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	d.addr = cfg.Listener.Addr().String()
	var ctx context.Context
	ctx, d.stop = context.WithCancel(t.Context())
	go func() { d.done <- d.Run(ctx) }()
	t.Cleanup(func() {
		d.stop()
		if err := <-d.done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	return d
}

// expect waits for an event that begins with want, passing over others.
func (d *door) expect(want string) string {
	d.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got := <-d.events:
			if strings.HasPrefix(got, want) {
				return got
			}
		case <-timeout:
			d.t.Fatalf("no event %q within %v", want, patience)
		}
	}
}

func (d *door) waitAllReady() {
	d.t.Helper()
	select {
	case <-d.AllReady():
	case <-time.After(patience):
		d.t.Fatalf("not ready within %v: %v", patience, d.Waiting())
	}
}

func (d *door) dial() *net.TCPConn {
	d.t.Helper()
	c, err := new(net.Dialer).DialContext(d.t.Context(), "tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { closeConn(c) })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		d.t.Fatalf("got a %T, want TCP", c)
	}
	return tcp
}

func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func TestConnectionsGoRoundReadyTargets(t *testing.T) {
	d := run(t, Config{}, newNode(t, "one", nil), newNode(t, "two", nil), newNode(t, "three", nil))
	d.waitAllReady()
	seen := map[string]int{}
	for range 9 {
		seen[readLine(t, d.dial())]++
	}
	for _, name := range []string{"one", "two", "three"} {
		if seen[name] != 3 {
			t.Errorf("connections to %s: got %d, want 3 of 9 (%v)", name, seen[name], seen)
		}
	}
}

func TestAnUnreadyTargetGetsNoNewConnections(t *testing.T) {
	one, two := newNode(t, "one", nil), newNode(t, "two", nil)
	d := run(t, Config{}, one, two)
	d.waitAllReady()
	two.ready.Store(false)
	if got, want := d.expect("two unready"), "two unready: answered 503: draining"; got != want {
		t.Errorf("event: got %q, want %q", got, want)
	}
	for range 4 {
		if got := readLine(t, d.dial()); got != "one" {
			t.Errorf("got a connection to %s, want one", got)
		}
	}
	if got := d.Waiting(); len(got) != 1 || got["two"] != "answered 503: draining" {
		t.Errorf("waiting: got %v, want two with its reason", got)
	}
	two.ready.Store(true)
	d.expect("two ready")
	seen := map[string]bool{readLine(t, d.dial()): true, readLine(t, d.dial()): true}
	if !seen["two"] {
		t.Error("two is ready again and got no connection")
	}
}

func TestAnUnreadyTargetKeepsItsConnections(t *testing.T) {
	n := newNode(t, "one", nil)
	d := run(t, Config{}, n)
	d.waitAllReady()
	c := d.dial()
	readLine(t, c)
	n.ready.Store(false)
	d.expect("one unready")
	if _, err := io.WriteString(c, "still here\n"); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, c); got != "still here" {
		t.Errorf("echo: got %q, want it over the old connection", got)
	}
}

func TestARefusedDialTriesAnotherTarget(t *testing.T) {
	dead, alive := newNode(t, "dead", nil), newNode(t, "alive", nil)
	d := run(t, Config{}, dead, alive)
	d.waitAllReady()
	// The page still says ready: the process died since the last check.
	if err := dead.listener.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got := readLine(t, d.dial()); got != "alive" {
			t.Errorf("got %q, want alive", got)
		}
	}
}

func TestWithoutAReadyTargetConnectionsAreReset(t *testing.T) {
	n := newNode(t, "one", nil)
	n.ready.Store(false)
	d := run(t, Config{}, n)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", d.addr)
	if err == nil { // the reset may be faster than the dial
		defer closeConn(c)
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestOneDirectionMayEndBeforeTheOther(t *testing.T) {
	n := newNode(t, "sum", func(c net.Conn) {
		// Answers only after the client has ended its direction.
		all, err := io.ReadAll(c)
		if err == nil {
			_, err = c.Write(bytes.ToUpper(all))
		}
		if err != nil {
			t.Errorf("fake node: %v", err)
		}
	})
	d := run(t, Config{}, n)
	d.waitAllReady()
	c := d.dial()
	sent := strings.Repeat("abcdefgh", 64<<10) // more than all buffers on the way
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != strings.ToUpper(sent) {
		t.Errorf("got %d bytes back that differ, want the %d sent in upper case", len(got), len(sent))
	}
}

func TestConnectionsOverTheBoundWait(t *testing.T) {
	n := newNode(t, "one", nil)
	d := run(t, Config{MaxConns: 1}, n)
	d.waitAllReady()
	first := d.dial()
	readLine(t, first)
	second := d.dial() // in the backlog
	if err := second.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Fatal("the second connection was served beside the first, want it to wait")
	}
	closeConn(first)
	if err := second.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, second); got != "one" {
		t.Errorf("got %q, want one after the first had gone", got)
	}
}

func TestASilentConnectionIsCut(t *testing.T) {
	d := run(t, Config{IdleTimeout: 30 * time.Millisecond}, newNode(t, "one", nil))
	d.waitAllReady()
	c := d.dial()
	readLine(t, c)
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: got %v, want the connection cut", err)
	}
}

func TestADirectionKeepsTheOtherAlive(t *testing.T) {
	quiet := make(chan struct{})
	n := newNode(t, "talks", func(c net.Conn) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 20 { // for 400 ms, while the client says nothing
			<-tick.C
			if _, err := io.WriteString(c, "x"); err != nil {
				t.Errorf("cut although one direction was active: %v", err)
				break
			}
		}
		close(quiet)
	})
	d := run(t, Config{IdleTimeout: 200 * time.Millisecond}, n)
	d.waitAllReady()
	c := d.dial()
	got, err := io.ReadAll(c)
	if err != nil || len(got) != 20 {
		t.Errorf("got %d bytes and %v, want 20 and nil", len(got), err)
	}
	<-quiet
}

func TestRunCutsConnectionsWhenItEnds(t *testing.T) {
	d := run(t, Config{}, newNode(t, "one", nil))
	d.waitAllReady()
	c := d.dial()
	readLine(t, c)
	d.stop()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: got %v, want the connection cut", err)
	}
}

func TestThresholdsCountChecksInARow(t *testing.T) {
	var checks atomic.Int64
	answers := "10110011110000" // 1 is a success; the last is repeated
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i := min(int(checks.Add(1)), len(answers)) - 1
		if answers[i] == '0' {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(page.Close)
	n := &node{Target: Target{Name: "flaps", Addr: "127.0.0.1:1", ReadyURL: page.URL}}
	d := run(t, Config{HealthyAfter: 3, UnhealthyAfter: 2}, n)
	d.expect("flaps ready")
	if got := checks.Load(); got < 9 {
		t.Errorf("ready after %d checks, want the third success in a row, check 9", got)
	}
	d.expect("flaps unready")
}

func TestValidateReportsEveryProblem(t *testing.T) {
	err := Config{
		Targets: []Target{
			{Name: "a", Addr: "nowhere", ReadyURL: "ftp://x"},
			{Name: "a", Addr: "127.0.0.1:1", ReadyURL: "http://127.0.0.1:2/ready"},
		},
		Interval: -1, MaxConns: -1,
	}.Validate()
	if err == nil {
		t.Fatal("got nil, want the problems")
	}
	for _, want := range []string{
		"Listener is required", `Targets[0].Addr "nowhere"`, `Targets[0].ReadyURL "ftp://x"`,
		`Targets[1].Name "a" must be set and unique`, "Interval is -1ns", "MaxConns is -1",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to contain %q", err, want)
		}
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Targets is empty") {
		t.Errorf("New: got %v, want it to refuse an empty configuration", err)
	}
}
