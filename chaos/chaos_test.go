//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
)

const (
	tenant = "tenant-a"
	// defaultKills keeps the test below two minutes.
	defaultKills = 6
	// pauses is how many nodes are paused, a member and the leader in turn.
	pauses = 2
	// leaves is how many nodes are told to leave, the second of them the leader.
	leaves = 3
	// maxShown bounds the violations that are listed.
	maxShown = 20
	// settleWithin bounds how long a fault may be felt: until every node is back
	// and the shards are even.
	settleWithin = 60 * time.Second
	// medianWithin and worstWithin bound the recovery of all probed accounts after a
	// kill. Usual are tens of milliseconds, see the report; this is what a crowded
	// machine must keep.
	medianWithin, worstWithin = 1500 * time.Millisecond, 4 * time.Second
)

// scenario is the test under way.
type scenario struct {
	bank    *bank
	managed *managed
	rec     *recorder
	report  report
}

// TestTheBankSurvives goes through the phases of the package comment.
func TestTheBankSurvives(t *testing.T) {
	began := time.Now()
	kills := defaultKills
	if text := os.Getenv("HOLDFAST_CHAOS_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil || kills < 1 {
			t.Fatalf("HOLDFAST_CHAOS_KILLS is %q: it must be a number from 1 on", text)
		}
	}
	bin := build(t)
	p := freePorts(t)
	s := &scenario{
		bank:    &bank{bin: bin, data: filepath.Join(t.TempDir(), "data"), ports: p, log: logFile(t)},
		managed: newManaged(p), rec: newRecorder(),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last lines of the nodes:\n%s", s.bank.lastLines())
		}
	})
	s.bank.start(t)
	s.settle(t, func(ctx context.Context) error { return s.managed.settled(ctx, s.bank) })
	clients := startLoad(context.WithoutCancel(t.Context()), p.door(), s.rec)
	stopped := sync.OnceFunc(clients.end)
	defer stopped()

	for i := range kills {
		s.kill(t, i%2 == 1)
	}
	for i := range pauses {
		s.pause(t, i%2 == 1)
	}
	for i := range leaves {
		s.leave(t, i == 1)
	}
	s.killAll(t)
	s.restart(t)
	stopped()

	s.judge(t)
	s.report.took = time.Since(began)
	t.Logf("\n%s", s.report.String())
	if name := os.Getenv("HOLDFAST_CHAOS_REPORT"); name != "" {
		if err := os.WriteFile(name, []byte(s.report.String()), 0o600); err != nil {
			t.Errorf("writing the report: %v", err)
		}
	}
}

// logFile is where the output of all nodes goes.
func logFile(t *testing.T) io.Writer {
	t.Helper()
	name := os.Getenv("HOLDFAST_CHAOS_REPORT")
	if name == "" {
		return io.Discard
	}
	f, err := os.Create(name + ".log")
	if err != nil {
		t.Fatalf("creating the log: %v", err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("closing the log: %v", err)
		}
	})
	return f
}

// settle waits until check says that all is well again.
func (s *scenario) settle(t *testing.T, check func(context.Context) error) {
	t.Helper()
	if err := until(t.Context(), settleWithin, check); err != nil {
		t.Fatalf("the bank has not settled: %v", err)
	}
}

// choose returns the leader, or any other node.
func (s *scenario) choose(t *testing.T, leader bool) int {
	t.Helper()
	n, err := s.managed.leader(t.Context(), 1+rand.IntN(numNodes))
	if err != nil {
		t.Fatalf("finding the leader: %v", err)
	}
	if !leader {
		n = other(n)
	}
	return n
}

// other returns another node than n.
func other(n int) int { return (n+rand.IntN(numNodes-1))%numNodes + 1 }

// affected returns some accounts that node n runs.
func (s *scenario) affected(t *testing.T, n int) []string {
	t.Helper()
	owners, err := s.managed.owners(t.Context(), n)
	if err != nil {
		t.Fatalf("finding the accounts of node %d: %v", n, err)
	}
	var found []string
	for _, i := range rand.Perm(numAccounts) {
		account := accountNo(i)
		if owners[sharding.ShardOf(tenant+"/"+account, len(owners))] == n {
			found = append(found, account)
		}
		if len(found) == probeAccounts {
			return found
		}
	}
	t.Fatalf("node %d runs only %d accounts, want %d to probe", n, len(found), probeAccounts)
	return nil
}

// kill kills a node with SIGKILL, measures how soon its accounts answer, and waits
// until it is replaced.
func (s *scenario) kill(t *testing.T, leader bool) {
	t.Helper()
	n := s.choose(t, leader)
	o := outage{kind: memberKilled, node: n}
	if leader {
		o.kind = leaderKilled
	}
	accounts, pid := s.affected(t, n), s.bank.pid(n)
	from := s.rec.now()
	at := s.bank.signal(t, n, syscall.SIGKILL)

	var wg sync.WaitGroup
	wg.Go(func() { o.doorFirst, o.doorAll = s.probe(t, at, s.bank.ports.door(), accounts) })
	wg.Go(func() { o.directFirst, o.directAll = s.probe(t, at, s.bank.ports.api(other(n)), accounts) })
	wg.Wait()
	s.settle(t, func(ctx context.Context) error { return s.managed.replaced(ctx, s.bank, n, pid) })
	s.note(t, o, at, from)
}

// probe puts money into each account, from the fault on, until it is acknowledged.
func (s *scenario) probe(t *testing.T, at time.Time, addr string, accounts []string) (first, last time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	took := make(chan time.Duration, len(accounts))
	for _, account := range accounts {
		wg.Go(func() {
			c := newClient(addr, s.rec, false)
			c.quiet = true
			if d, ok := c.deposit(t.Context(), account); ok {
				took <- s.rec.began.Add(d.End).Sub(at)
			} else {
				t.Errorf("account %s has not answered at %s within %v of the fault", account, addr, giveUpAfter)
			}
		})
	}
	wg.Wait()
	close(took)
	for d := range took {
		if first == 0 || d < first {
			first = d
		}
		last = max(last, d)
	}
	return first, last
}

// pause stops a node as a hypervisor may, until the others have taken its shards,
// and lets it go on: what it was about to do must then be refused. A node that is
// paused while it holds the write lock of SQLite, which all nodes here share, keeps
// the others from writing; so only the history is judged, not the time.
func (s *scenario) pause(t *testing.T, leader bool) {
	t.Helper()
	n := s.choose(t, leader)
	o := outage{kind: memberPaused, node: n}
	if leader {
		o.kind = leaderPaused
	}
	from := s.rec.now()
	at := s.bank.signal(t, n, syscall.SIGSTOP)
	s.settle(t, func(ctx context.Context) error {
		owners, err := s.managed.owners(ctx, other(n))
		if err == nil && slices.Contains(owners, n) {
			err = fmt.Errorf("node %d, which is paused, still has shards", n)
		}
		return err
	})
	s.bank.signal(t, n, syscall.SIGCONT)
	s.settle(t, func(ctx context.Context) error { return s.managed.settled(ctx, s.bank) })
	s.note(t, o, at, from)
}

// leave tells a node to stop. No request may fail, until it is replaced.
func (s *scenario) leave(t *testing.T, leader bool) {
	t.Helper()
	n := s.choose(t, leader)
	o := outage{kind: memberLeft, node: n}
	if leader {
		o.kind = leaderLeft
	}
	pid, from := s.bank.pid(n), s.rec.now()
	at := s.bank.signal(t, n, syscall.SIGTERM)
	s.settle(t, func(ctx context.Context) error { return s.managed.replaced(ctx, s.bank, n, pid) })
	o = s.note(t, o, at, from)
	if got := len(o.failures); got != 0 {
		t.Errorf("%s, node %d: got %d failed requests, want 0; the first at %v: %s", o.kind, n, got, o.failures[0].at-from, o.failures[0].text)
	}
}

// killAll kills all nodes at once.
func (s *scenario) killAll(t *testing.T) {
	t.Helper()
	var pids [numNodes + 1]int
	for n := 1; n <= numNodes; n++ {
		pids[n] = s.bank.pid(n)
	}
	from, at := s.rec.now(), time.Now()
	for n := 1; n <= numNodes; n++ {
		s.bank.signal(t, n, syscall.SIGKILL)
	}
	s.settle(t, func(ctx context.Context) error {
		for n := 1; n <= numNodes; n++ {
			if err := s.managed.replaced(ctx, s.bank, n, pids[n]); err != nil {
				return err
			}
		}
		return nil
	})
	s.working(t)
	s.note(t, outage{kind: allKilled, doorFirst: s.rec.first(from) - from}, at, from)
}

// restart stops everything in order and starts it on the same data.
func (s *scenario) restart(t *testing.T) {
	t.Helper()
	from, at := s.rec.now(), time.Now()
	s.bank.stop(t, settleWithin)
	s.bank.start(t)
	s.settle(t, func(ctx context.Context) error { return s.managed.settled(ctx, s.bank) })
	s.note(t, outage{kind: allRestarted}, at, from)
}

// working waits until a deposit succeeds that begins now.
func (s *scenario) working(t *testing.T) {
	t.Helper()
	now := s.rec.now()
	s.settle(t, func(context.Context) error {
		if s.rec.first(now) == 0 {
			return errors.New("no deposit succeeds")
		}
		return nil
	})
}

// note completes an outage and adds it to the report.
func (s *scenario) note(t *testing.T, o outage, at time.Time, from time.Duration) outage {
	t.Helper()
	o.settled = time.Since(at)
	s.working(t)
	o.slowest, o.failures = s.rec.slowest(from), s.rec.since(from)
	s.report.outages = append(s.report.outages, o)
	if o.node == 0 {
		t.Logf("%s: settled after %v, %d failed attempts", o.kind, o.settled, len(o.failures))
	} else {
		t.Logf("%s, node %d: settled after %v, %d failed attempts", o.kind, o.node, o.settled, len(o.failures))
	}
	return o
}

// judge checks what was recorded against what the accounts say in the end.
func (s *scenario) judge(t *testing.T) {
	t.Helper()
	c := newClient(s.bank.ports.door(), s.rec, true)
	defer c.close()
	final := map[string]Statement{}
	for i := range numAccounts {
		got, err := c.balance(t.Context(), accountNo(i))
		if err != nil {
			t.Fatalf("the final balance of account %s: %v", accountNo(i), err)
		}
		final[accountNo(i)] = got
	}
	h := s.rec.history(final)
	violations := h.Check()
	for _, v := range violations[:min(len(violations), maxShown)] {
		t.Error(v)
	}
	if more := len(violations) - maxShown; more > 0 {
		t.Errorf("and %d more violations", more)
	}
	if err := s.rec.broken; err != nil {
		t.Errorf("a request was answered as no fault explains: %v", err)
	}
	s.report.deposits, s.report.reads = len(h.Deposits), len(h.Reads)
	for _, d := range h.Deposits {
		s.report.repeats += len(d.Repeats)
		if !d.Acked {
			s.report.unacked++
		}
	}
	if s.report.deposits < 10*numAccounts || s.report.repeats == 0 {
		t.Errorf("got %d deposits and %d repeats: too few to tell anything", s.report.deposits, s.report.repeats)
	}
	for _, kind := range []string{memberKilled, leaderKilled} {
		var took []time.Duration
		for _, o := range s.report.of(kind) {
			took = append(took, max(o.doorAll, o.directAll))
		}
		if len(took) == 0 {
			continue
		}
		if got := median(took); got > medianWithin {
			t.Errorf("%s: all accounts answered after %v in the median, want at most %v", kind, got, medianWithin)
		}
		if got := slices.Max(took); got > worstWithin {
			t.Errorf("%s: all accounts answered after %v in the worst case, want at most %v", kind, got, worstWithin)
		}
	}
}
