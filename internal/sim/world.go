package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/remote/remotetest"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

const (
	clusterName    = "sim"
	passivateAfter = 3 * time.Second
	// look is how often the oracle looks at all processes.
	look = 10 * time.Millisecond
	// liveWithin is how long after the last fault everything must be served.
	liveWithin = 90 * time.Second
	// realLimit is how long a history may take; it takes a second or two.
	realLimit = 60 * time.Second
)

// Options of one history.
type Options struct {
	// Seed decides the scenario: nodes, faults, callers.
	Seed uint64
	// Log receives what the nodes log. Defaults to nothing.
	Log *slog.Logger
}

// Stats of one history or of many.
type Stats struct {
	Histories, Faults, Starts, Generations, Leaders   int
	Calls, Replies, NotRun, Unknown                   int
	Executions, Activations, Writes, Refused, InDoubt int
	Virtual, Real, SlowestHeal                        time.Duration
}

// Report of one history.
type Report struct {
	Seed       uint64
	Violations []Violation
	// Timeline of faults and of what became of processes.
	Timeline []string
	Stats    Stats
}

// place is an address at which processes run, one after the other.
type place struct {
	name, addr, zone string

	mu     sync.Mutex
	wanted bool
	now    *process
	poke   chan struct{}
	// restartAfter is how long the next start waits.
	restartAfter time.Duration
}

func (at *place) set(wanted bool, restartAfter time.Duration) {
	at.mu.Lock()
	at.wanted, at.restartAfter = wanted, restartAfter
	at.mu.Unlock()
	select {
	case at.poke <- struct{}{}:
	default:
	}
}

func (at *place) state() (wanted bool, restartAfter time.Duration) {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.wanted, at.restartAfter
}

// world is one history.
type world struct {
	seed     uint64
	log      *slog.Logger
	net      *remotetest.Network
	shared   *memory.Store
	storeMu  sync.Mutex
	bank     *bank
	entities []string
	timing   cluster.Timing
	oracle   *oracle
	places   []*place
	// hesitates is how many rounds without a cluster a process waits to form one.
	hesitates int
	tasks     sync.WaitGroup
	faults    faults

	mu       sync.Mutex
	seq      int
	procs    []*process // those that have not ended
	timeline []string
}

// Run runs one history in a bubble of its own.
func Run(t *testing.T, o Options) (r Report) {
	t.Helper()
	began := time.Now()
	// Nothing inside can notice that virtual time stands still.
	watchdog := time.AfterFunc(realLimit, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("simulation: the history of seed %d has not ended after %v", o.Seed, realLimit))
	})
	defer watchdog.Stop()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(o)
		w.run()
		r = Report{Seed: o.Seed, Violations: w.oracle.violations, Timeline: w.timeline, Stats: w.oracle.stats}
		r.Stats.Histories, r.Stats.Virtual = 1, time.Since(w.oracle.began)
	})
	r.Stats.Real = time.Since(began)
	return r
}

func newWorld(o Options) *world {
	rnd := rand.New(rand.NewPCG(o.Seed, 0))
	w := &world{
		seed: o.Seed, log: o.Log, net: remotetest.NewNetwork(o.Seed), shared: memory.New(), bank: newBank(), oracle: newOracle(),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if rnd.IntN(2) == 0 {
		w.timing = cluster.FastTiming()
	}
	w.faults.w = w
	if rnd.IntN(2) == 0 {
		w.faults.base = time.Duration(100+rnd.IntN(2000)) * time.Microsecond
	}
	// How soon a host gives a connection up that nothing gets through.
	w.net.BreakAfter([...]time.Duration{time.Second, 3 * time.Second, 8 * time.Second}[rnd.IntN(3)])
	w.hesitates = rnd.IntN(3)
	n := 3 + rnd.IntN(4)
	for i := range n + 2 {
		w.places = append(w.places, &place{
			name: string(rune('a' + i)), addr: fmt.Sprintf("10.0.0.%d:25520", i+1), zone: fmt.Sprintf("z%d", i%3),
			wanted: i < n, poke: make(chan struct{}, 1),
		})
	}
	for i := range 3 + rnd.IntN(10) {
		w.entities = append(w.entities, fmt.Sprintf("acc-%d", i))
	}
	w.faults.plan(rnd, n)
	return w
}

// note adds a line to the timeline.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%9s  ", time.Since(w.oracle.began).Round(time.Millisecond)) + fmt.Sprintf(format, args...)
	w.mu.Lock()
	w.timeline = append(w.timeline, line)
	w.mu.Unlock()
	w.log.Info("simulation", slog.String("line", line))
}

// living returns the processes that have not ended.
func (w *world) living() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*process, 0, len(w.procs))
	for _, p := range w.procs {
		if !p.dead.Load() {
			out = append(out, p)
		}
	}
	return out
}

// anyProcess returns one that takes calls, nil for none.
func (w *world) anyProcess(rnd interface{ IntN(n int) int }) *process {
	var out []*process
	for _, p := range w.living() {
		if !p.gone() {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out[rnd.IntN(len(out))]
}

// supervise keeps a process at a place for as long as one is wanted there.
func (w *world) supervise(at *place, stop <-chan struct{}) {
	for {
		wanted, after := at.state()
		if !wanted {
			select {
			case <-at.poke:
				continue
			case <-stop:
				return
			}
		}
		select {
		case <-time.After(after):
		case <-stop:
			return
		}
		p, err := w.newProcess(at)
		if err != nil {
			w.oracle.report("simulation", "%v", err)
			return
		}
		w.mu.Lock()
		w.oracle.count(&w.oracle.stats.Starts)
		w.procs = append(w.procs, p)
		w.mu.Unlock()
		w.note("%s starts", p.self.ID)
		at.mu.Lock()
		at.now = p
		at.mu.Unlock()
		p.run(stop)
		at.mu.Lock()
		at.now = nil
		at.restartAfter = max(at.restartAfter, 300*time.Millisecond)
		at.mu.Unlock()
		select {
		case <-stop:
			return
		default:
		}
	}
}

// run is the history: faults come and go, everything heals and must be live
// again, and the journal must agree with what the callers saw.
func (w *world) run() {
	w.faults.calm()
	stop := make(chan struct{})
	var supervisors, callers, watcher sync.WaitGroup
	for _, at := range w.places {
		supervisors.Go(func() { w.supervise(at, stop) })
	}
	callCtx, stopCallers := context.WithCancel(context.Background())
	defer stopCallers()
	watchCtx, stopWatcher := context.WithCancel(context.Background())
	defer stopWatcher()
	watcher.Go(func() { w.watch(watchCtx) })
	for i := range 5 {
		callers.Go(func() { w.newCaller(i).run(callCtx) })
	}
	if w.live("formed", liveWithin) {
		w.faults.run()
		began := time.Now()
		if w.live("live again", liveWithin) {
			w.oracle.stats.SlowestHeal = time.Since(began)
			w.checkServed()
		}
	}
	stopCallers()
	callers.Wait()
	if w.seed%2 == 0 && !w.oracle.failed() {
		w.stopAll()
	}
	stopWatcher()
	watcher.Wait()
	close(stop)
	for _, p := range w.living() {
		p.crash()
	}
	supervisors.Wait()
	for _, p := range w.living() {
		p.crash() // started meanwhile
	}
	w.tasks.Wait()
	w.oracle.verify(w.shared, w.entities)
}

// stopAll shuts all nodes down in order, at once.
func (w *world) stopAll() {
	w.note("all are stopped")
	for _, at := range w.places {
		at.set(false, 0)
	}
	for _, p := range w.living() {
		p.leave()
	}
	for began := time.Now(); ; <-time.After(20 * time.Millisecond) {
		left := w.living()
		switch {
		case len(left) == 0:
			w.note("all have stopped after %v", time.Since(began).Round(time.Millisecond))
			return
		case time.Since(began) > leaveBudget:
			w.oracle.report("I10", "%d nodes have not stopped after %v, one is %s", len(left), leaveBudget, left[0].self)
			return
		}
	}
}

// watch has the oracle look at everything, at moments when nothing moves.
func (w *world) watch(ctx context.Context) {
	for sleep(ctx, look) {
		synctest.Wait()
		w.oracle.watch(w.living())
	}
}

// live waits until all shards are served in one cluster of all wanted places,
// and reports it when that does not happen.
func (w *world) live(what string, within time.Duration) bool {
	began := time.Now()
	for {
		why := w.notLive()
		if why == "" {
			w.note("%s after %v", what, time.Since(began).Round(time.Millisecond))
			return true
		}
		if w.oracle.failed() {
			return false
		}
		if time.Since(began) > within {
			w.oracle.report("I7", "not %s %v after the last fault: %s", what, within, why)
			return false
		}
		<-time.After(20 * time.Millisecond)
	}
}

// notLive says what keeps the cluster from being whole, "" for nothing.
func (w *world) notLive() string {
	members := map[member.NodeID]bool{}
	var in []*process
	for _, at := range w.places {
		at.mu.Lock()
		p, wanted := at.now, at.wanted
		at.mu.Unlock()
		if !wanted && p == nil {
			continue
		}
		switch {
		case p == nil:
			return at.name + " has no process"
		case !wanted, p.bye.Load():
			return p.self.String() + " is still leaving"
		case p.gone():
			return p.self.String() + " is not in a cluster"
		case !p.cluster.SessionValid():
			return p.self.String() + " has no session"
		}
		members[p.self.ID] = true
		in = append(in, p)
	}
	for _, p := range in {
		v := p.cluster.View()
		if v.Generation != in[0].cluster.View().Generation {
			return fmt.Sprintf("%s is in generation %d, %s in %d", p.self, v.Generation, in[0].self, in[0].cluster.View().Generation)
		}
		if len(v.Members) != len(in) {
			return fmt.Sprintf("%s sees %d members, there are %d: %+v", p.self, len(v.Members), len(in), v.Members)
		}
		for _, m := range v.Members {
			if !members[m.ID] || m.Status != member.Up {
				return fmt.Sprintf("%s sees %s as %s", p.self, m.ID, m.Status)
			}
		}
		rows, _ := p.cluster.Shards("account")
		if len(rows) != shards {
			return p.self.String() + " has no table"
		}
		for i, r := range rows {
			if r.State != placement.Running || !members[r.Owner] {
				return fmt.Sprintf("shard %d is %s at %q on %s", i, r.State, r.Owner, p.self)
			}
		}
	}
	return ""
}

// checkServed calls every account through every node.
func (w *world) checkServed() {
	var wg sync.WaitGroup
	for i, p := range w.living() {
		if p.gone() {
			continue
		}
		for _, id := range w.entities {
			wg.Go(func() {
				c := &op{id: fmt.Sprintf("last-%d", i), entity: id, kind: keyed, amount: 1, timeout: 10 * time.Second, via: p}
				w.do(c)
				if c.outcome != done {
					w.oracle.report("I7", "%s failed although everything is well: %v", c, c.err)
				}
			})
		}
	}
	wg.Wait()
}

// Add adds the figures of another history.
func (s *Stats) Add(o Stats) {
	s.Histories += o.Histories
	s.Faults += o.Faults
	s.Starts += o.Starts
	s.Generations += o.Generations
	s.Leaders += o.Leaders
	s.Calls += o.Calls
	s.Replies += o.Replies
	s.NotRun += o.NotRun
	s.Unknown += o.Unknown
	s.Executions += o.Executions
	s.Activations += o.Activations
	s.Writes += o.Writes
	s.Refused += o.Refused
	s.InDoubt += o.InDoubt
	s.Virtual += o.Virtual
	s.Real += o.Real
	s.SlowestHeal = max(s.SlowestHeal, o.SlowestHeal)
}

// String gives the figures on one line.
func (s Stats) String() string {
	return fmt.Sprintf("%d histories, %v virtual in %v: %d faults, %d starts, %d generations, %d leaders; %d calls: %d answered, %d not run, %d open; "+
		"%d executions in %d activations, %d writes, %d refused by the store, %d in doubt; slowest recovery %v",
		s.Histories, s.Virtual.Round(time.Second), s.Real.Round(time.Millisecond), s.Faults, s.Starts, s.Generations, s.Leaders,
		s.Calls, s.Replies, s.NotRun, s.Unknown, s.Executions, s.Activations, s.Writes, s.Refused, s.InDoubt, s.SlowestHeal.Round(time.Millisecond))
}
