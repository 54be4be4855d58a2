package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// faultKind is what goes wrong.
type faultKind uint8

const (
	faultKill faultKind = iota
	faultKillMany
	faultPause
	faultIsolate
	faultSplit
	faultOneWay
	faultBridge
	faultZone
	faultDelay
	faultDrop
	faultLeave
	faultJoin
	faultStoreDown
	faultStoreDoubt
	faultStoreSlow
	faultApart
	faultRemnant
	faultSwap
	faultKinds
)

var faultNames = [faultKinds]string{
	"kill", "kill many", "pause", "isolate", "split", "one way", "bridge", "zone", "delay", "drop", "leave", "join",
	"store down", "store in doubt", "store slow", "restart apart", "remnant", "swap",
}

// weights say how often each kind is drawn.
var weights = [faultKinds]int{12, 3, 10, 8, 6, 6, 4, 4, 5, 4, 8, 5, 4, 6, 3, 5, 3, 4}

// fault is one of the plan. Which process it hits is decided when it begins.
type fault struct {
	kind   faultKind
	at     time.Duration // after the cluster was formed
	lasts  time.Duration
	leader bool // hits the leader if there is one
	pick   uint64
	again  bool // what was killed or left starts again
	amount float64

	// Set while it is on.
	text  string
	paths [][2]string // cut
	weak  [][2]string // delayed or lossy
	place *place      // with a store of its own fault; nil means all
	proc  *process
}

// faults applies a plan.
type faults struct {
	w     *world
	base  time.Duration // delay of all paths
	plans []*fault

	mu     sync.Mutex
	active []*fault
}

// window is the time within which faults begin.
const window = 30 * time.Second

// plan draws the faults of a history.
func (f *faults) plan(rnd *rand.Rand, nodes int) {
	total := 0
	for _, n := range weights {
		total += n
	}
	for range 5 + rnd.IntN(8) {
		n := rnd.IntN(total)
		kind := faultKind(0)
		for n >= weights[kind] {
			n -= weights[kind]
			kind++
		}
		// Most are short against the session, some long enough for a downing.
		lasts := time.Duration(50+rnd.IntN(3000)) * time.Millisecond
		if rnd.IntN(3) == 0 {
			lasts = time.Duration(3000+rnd.IntN(12000)) * time.Millisecond
		}
		f.plans = append(f.plans, &fault{
			kind: kind, at: time.Duration(rnd.Int64N(int64(window))), lasts: lasts, leader: rnd.IntN(3) == 0,
			pick: rnd.Uint64(), again: rnd.IntN(5) > 0, amount: rnd.Float64(),
		})
	}
	// Some come together.
	for i := range f.plans {
		if i > 0 && rnd.IntN(3) == 0 {
			f.plans[i].at = f.plans[i-1].at + time.Duration(rnd.IntN(400))*time.Millisecond
		}
	}
	slices.SortStableFunc(f.plans, func(a, b *fault) int { return cmp.Compare(a.at, b.at) })
	_ = nodes
}

// calm gives all paths their usual delay.
func (f *faults) calm() {
	var all []string
	for _, at := range f.w.places {
		all = append(all, at.addr)
	}
	f.apply(&fault{paths: oneWay(all, all)})
}

// run applies the plan and returns when every fault is over.
func (f *faults) run() {
	began := time.Now()
	var wg sync.WaitGroup
	for _, p := range f.plans {
		wg.Go(func() {
			<-time.After(p.at - time.Since(began))
			if f.w.oracle.failed() || !f.begin(p) {
				return
			}
			<-time.After(p.lasts)
			f.finish(p)
		})
	}
	wg.Wait()
}

// victims orders the living processes for a fault: the first is hit.
func (f *faults) victims(p *fault) []*process {
	procs := f.w.living()
	slices.SortFunc(procs, func(a, b *process) int { return cmp.Compare(a.self.Addr, b.self.Addr) })
	rnd := rand.New(rand.NewPCG(p.pick, 0))
	rnd.Shuffle(len(procs), func(i, j int) { procs[i], procs[j] = procs[j], procs[i] })
	if p.leader {
		slices.SortStableFunc(procs, func(a, b *process) int { return leads(b) - leads(a) })
	}
	return procs
}

func leads(p *process) int {
	if p.cluster.Leads() {
		return 1
	}
	return 0
}

// begin starts a fault and reports whether it has an end.
func (f *faults) begin(p *fault) bool {
	procs := f.victims(p)
	if len(procs) == 0 {
		return false
	}
	f.w.oracle.count(&f.w.oracle.stats.Faults)
	victim := procs[0]
	name := string(victim.self.ID)
	if leads(victim) > 0 {
		name += " (leader)"
	}
	restart := time.Duration(p.amount*float64(5*time.Second)) + 20*time.Millisecond
	switch p.kind {
	case faultKill:
		f.w.note("kill %s, starts again: %v", name, p.again)
		victim.place.set(p.again || f.wanted() < 3, restart)
		victim.crash()
		return false
	case faultKillMany:
		n := 2 + int(p.amount*float64(len(procs)-1))
		var names []string
		for _, v := range procs[:min(n, len(procs))] {
			v.place.set(true, time.Duration(p.pick%uint64(4*time.Second)))
			v.crash()
			names = append(names, string(v.self.ID))
		}
		f.w.note("kill %s", strings.Join(names, ", "))
		return false
	case faultSwap:
		// A voter comes back blank at once, and then the leader dies.
		f.w.note("kill %s, then the leader", name)
		victim.place.set(true, 0)
		victim.crash()
		<-time.After(time.Duration(p.amount * float64(400*time.Millisecond)))
		for _, v := range f.w.living() {
			if v.cluster.Leads() {
				f.w.note("kill %s (leader)", v.self.ID)
				v.place.set(true, restart)
				v.crash()
			}
		}
		return false
	case faultLeave:
		if victim.gone() {
			return false
		}
		f.w.note("stop %s, starts again: %v", name, p.again)
		victim.place.set(p.again || f.wanted() < 3, restart)
		victim.leave()
		return false
	case faultJoin:
		for _, at := range f.w.places {
			if wanted, _ := at.state(); !wanted {
				f.w.note("a node is wanted at %s", at.name)
				at.set(true, 0)
				return false
			}
		}
		return false
	case faultPause:
		p.proc, p.text = victim, "pause "+name
		victim.pause()
		f.w.net.Hang(victim.self)
	case faultIsolate:
		p.text = "isolate " + name
		p.paths = f.between([]string{victim.self.Addr}, f.without(victim.self.Addr))
	case faultApart:
		// It comes back where it finds nobody.
		p.text = "kill " + name + " and cut its place off"
		p.paths = f.between([]string{victim.self.Addr}, f.without(victim.self.Addr))
		victim.place.set(true, 0)
		victim.crash()
	case faultRemnant:
		// All but one die, and those that come back do not find that one.
		p.text = "kill all but " + name + ", which is cut off"
		p.paths = f.between([]string{victim.self.Addr}, f.without(victim.self.Addr))
		for _, v := range procs[1:] {
			v.place.set(true, 0)
			v.crash()
		}
	case faultSplit:
		var a, b []string
		for i, at := range f.w.places {
			if p.pick>>i&1 == 0 {
				a = append(a, at.addr)
			} else {
				b = append(b, at.addr)
			}
		}
		p.text, p.paths = fmt.Sprintf("split %s", f.names(a)), f.between(a, b)
	case faultOneWay:
		others := f.without(victim.self.Addr)
		switch p.pick % 4 {
		case 0:
			p.text, p.paths = "nothing reaches "+name, oneWay(others, []string{victim.self.Addr})
		case 1:
			p.text, p.paths = "nothing leaves "+name, oneWay([]string{victim.self.Addr}, others)
		default:
			to := others[int(p.pick/4%uint64(len(others)))]
			p.text, p.paths = fmt.Sprintf("nothing gets from %s to %s", name, f.names([]string{to})), oneWay([]string{victim.self.Addr}, []string{to})
		}
	case faultBridge:
		var a, b []string
		for i, addr := range f.without(victim.self.Addr) {
			if i%2 == 0 {
				a = append(a, addr)
			} else {
				b = append(b, addr)
			}
		}
		p.text, p.paths = "only "+name+" reaches both sides", f.between(a, b)
	case faultZone:
		var in, out []string
		for _, at := range f.w.places {
			if at.zone == victim.place.zone {
				in = append(in, at.addr)
			} else {
				out = append(out, at.addr)
			}
		}
		p.text, p.paths = "zone "+victim.place.zone+" is cut off", f.between(in, out)
	case faultDelay:
		p.text = fmt.Sprintf("%s is %v away", name, p.delay())
		p.weak = f.between([]string{victim.self.Addr}, f.without(victim.self.Addr))
	case faultDrop:
		p.text = fmt.Sprintf("%s loses %.0f %% of its messages", name, 100*p.loss())
		p.weak = f.between([]string{victim.self.Addr}, f.without(victim.self.Addr))
	case faultStoreDown, faultStoreDoubt, faultStoreSlow:
		p.text = faultNames[p.kind]
		if p.pick%2 == 0 {
			p.place = victim.place
			p.text += " for " + name
		}
	case faultKinds:
	}
	f.w.note("%s for %v", p.text, p.lasts.Round(time.Millisecond))
	f.mu.Lock()
	f.active = append(f.active, p)
	f.mu.Unlock()
	f.apply(p)
	return true
}

// finish ends a fault; others of the same paths stay.
func (f *faults) finish(p *fault) {
	f.w.note("over: %s", p.text)
	f.mu.Lock()
	f.active = slices.DeleteFunc(f.active, func(q *fault) bool { return q == p })
	paused := slices.ContainsFunc(f.active, func(q *fault) bool { return p.proc != nil && q.proc == p.proc })
	f.mu.Unlock()
	if p.proc != nil && !paused {
		f.w.net.Resume(p.proc.self)
		p.proc.resume()
	}
	f.apply(p)
}

// wanted counts the places that should have a process.
func (f *faults) wanted() int {
	n := 0
	for _, at := range f.w.places {
		if wanted, _ := at.state(); wanted {
			n++
		}
	}
	return n
}

func (p *fault) delay() time.Duration {
	return (time.Duration(1+p.amount*p.amount*400) * time.Millisecond)
}

func (p *fault) loss() float64 { return 0.01 + 0.2*p.amount*p.amount }

func (f *faults) without(addr string) []string {
	var out []string
	for _, at := range f.w.places {
		if at.addr != addr {
			out = append(out, at.addr)
		}
	}
	return out
}

func (f *faults) names(addrs []string) string {
	var out []string
	for _, at := range f.w.places {
		if slices.Contains(addrs, at.addr) {
			out = append(out, at.name)
		}
	}
	return strings.Join(out, "")
}

func oneWay(from, to []string) (paths [][2]string) {
	for _, a := range from {
		for _, b := range to {
			paths = append(paths, [2]string{a, b})
		}
	}
	return paths
}

func (f *faults) between(a, b []string) [][2]string { return append(oneWay(a, b), oneWay(b, a)...) }

// apply makes the network what the active faults say, on the paths of p.
func (f *faults) apply(p *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, path := range slices.Concat(p.paths, p.weak) {
		cut, delay, loss := false, f.base, 0.0
		for _, q := range f.active {
			cut = cut || slices.Contains(q.paths, path)
			if slices.Contains(q.weak, path) {
				if q.kind == faultDelay {
					delay = max(delay, q.delay())
				} else {
					loss = max(loss, q.loss())
				}
			}
		}
		from, to := member.Node{Addr: path[0]}, member.Node{Addr: path[1]}
		if cut {
			f.w.net.CutOneWay(from, to)
		} else {
			f.w.net.Mend(from, to)
		}
		f.w.net.Delay(from, to, delay)
		f.w.net.Drop(from, to, loss)
	}
}

// storeFaultFor says what is wrong with the store for a process.
func (w *world) storeFaultFor(p *process) (out storeFault) {
	f := &w.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.active {
		if q.place != nil && q.place != p.place {
			continue
		}
		switch q.kind { //nolint:exhaustive // the others leave the store alone
		case faultStoreDown:
			out.down = true
		case faultStoreDoubt:
			out.doubt = max(out.doubt, 0.05+0.6*q.amount)
		case faultStoreSlow:
			out.slow = max(out.slow, time.Duration(q.amount*float64(2*time.Second)))
		}
	}
	return out
}
