package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/actor"
	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/remote/remotetest"
	"github.com/holdfast-go/holdfast/sharding"
)

// Times of a process.
const (
	// leaveBudget is how long an orderly shutdown may take.
	leaveBudget = 110 * time.Second
	// startBudget is how long a process tries to get into a cluster.
	startBudget = 90 * time.Second
)

// process is one start of a node: the real shells over the simulated network,
// store and supervisor.
type process struct {
	w        *world
	seq      int
	self     member.Node
	place    *place
	tr       *remotetest.Node
	cluster  *cluster.Cluster
	regions  *sharding.Regions
	actors   *actor.System
	follower *follower
	log      *slog.Logger

	dead atomic.Bool // killed: what it does is never seen again
	in   atomic.Bool // it is in a cluster and takes calls
	over atomic.Bool // it takes no calls any more
	bye  atomic.Bool // it was asked to leave
	kill chan struct{}
	quit chan struct{} // asked to leave
	once sync.Once
	ask  sync.Once

	mu     sync.Mutex
	thawed chan struct{} // non-nil while paused; closed at the end of that
}

// part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (w *world) start(run func(ctx context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{cancel: cancel, done: make(chan struct{})}
	w.tasks.Go(func() {
		defer close(p.done)
		p.err = run(ctx)
	})
	return p
}

func (p *part) stop() error {
	p.cancel()
	<-p.done
	return p.err
}

func (w *world) newProcess(at *place) (*process, error) {
	w.mu.Lock()
	w.seq++
	seq := w.seq
	w.mu.Unlock()
	p := &process{
		w: w, seq: seq, place: at, kill: make(chan struct{}), quit: make(chan struct{}),
		self: member.Node{ID: member.NodeID(fmt.Sprintf("%s%03d", at.name, seq)), Addr: at.addr},
	}
	p.log = w.log.With(slog.String("node", string(p.self.ID)))
	p.follower = &follower{p: p, members: map[member.NodeID]member.Member{}}
	p.tr = w.net.Node(p.self)
	st := &store{Store: w.shared, w: w, p: p, rnd: rand.New(rand.NewPCG(w.seed, uint64(seq)<<8|2))}
	var err error
	if p.cluster, err = cluster.New(cluster.Config{
		Cluster: clusterName, Self: member.Member{Node: p.self, Zone: at.zone}, Transport: p.tr, Arbiter: arbiter{st},
		Settings: map[string]string{"sbr": "keep-majority"}, Types: map[string]int{"account": shards}, Logger: p.log,
		Timing: w.timing,
	}); err != nil {
		return nil, err
	}
	p.cluster.Observe(p.follower)
	if p.actors, err = actor.NewSystem(actor.Config{Logger: p.log}); err != nil {
		return nil, err
	}
	entity := watch(w.bank.typ.BindStore(st, persistence.BindOptions{Logger: p.log}), p)
	p.regions, err = sharding.NewRegions(sharding.Config{
		Cluster: regionCluster{p.cluster}, Transport: p.tr, Actors: p.actors, Entities: []sharding.Entity{entity}, Logger: p.log,
	})
	return p, err
}

// gone reports whether nobody should call through this process any more.
func (p *process) gone() bool { return p.dead.Load() || p.over.Load() || !p.in.Load() }

// pause makes the process stand still, as far as the store and its entities
// can tell; the network is told by the caller.
func (p *process) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thawed == nil && !p.dead.Load() {
		p.thawed = make(chan struct{})
	}
}

func (p *process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thawed != nil {
		close(p.thawed)
		p.thawed = nil
	}
}

// awaitThaw returns at once unless the process is paused.
func (p *process) awaitThaw() {
	p.mu.Lock()
	thawed := p.thawed
	p.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
}

// crash ends the process as kill -9 does.
func (p *process) crash() {
	p.once.Do(func() {
		p.dead.Store(true)
		p.w.net.Kill(p.self)
		p.resume()
		close(p.kill)
	})
}

// leave asks the process to shut down in order.
func (p *process) leave() {
	p.bye.Store(true)
	p.ask.Do(func() { close(p.quit) })
}

// run is the life of the process. It returns when another may be started at
// its address.
func (p *process) run(stop <-chan struct{}) {
	w := p.w
	transport, clusterPart, regions := w.start(p.tr.Run), w.start(p.cluster.Run), w.start(p.regions.Run)
	enterCtx, cancel := context.WithTimeout(context.Background(), startBudget)
	entered := make(chan error, 1)
	w.tasks.Go(func() { entered <- p.enter(enterCtx) })
	defer cancel()
	orderly := false
	for waiting := true; waiting; {
		select {
		case err := <-entered:
			entered = nil
			if err != nil {
				w.note("%s does not get in: %v", p.self.ID, err)
				waiting = false
				break
			}
			w.note("%s is in generation %d", p.self.ID, p.cluster.View().Generation)
			p.in.Store(true)
		case err := <-p.cluster.Ended():
			w.note("%s ends: %v", p.self.ID, err)
			waiting = false
		case <-p.quit:
			w.note("%s leaves", p.self.ID)
			orderly, waiting = true, false
		case <-p.kill:
			waiting = false
		case <-stop:
			waiting = false
		}
	}
	cancel()
	if p.dead.Load() {
		// Nobody sees how it ends.
		w.tasks.Go(func() { p.end(regions, clusterPart, transport) })
		return
	}
	began := time.Now()
	ended := make(chan struct{})
	w.tasks.Go(func() {
		defer close(ended)
		if orderly {
			p.evacuate()
		}
		p.over.Store(true)
		p.end(regions, clusterPart, transport)
	})
	select {
	case <-ended:
		if took := time.Since(began); took > leaveBudget && !p.dead.Load() {
			w.oracle.report("I10", "%s took %v to shut down", p.self, took)
		}
	case <-p.kill:
	}
}

// evacuate is what a node does first on SIGTERM. It goes on taking calls.
func (p *process) evacuate() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ctx, stop := p.untilKilled(ctx)
	defer stop()
	if !p.cluster.SessionValid() {
		return
	}
	if err := p.cluster.Leave(ctx); err != nil {
		p.w.note("%s cannot leave: %v", p.self.ID, err)
		return
	}
	empty, err := p.cluster.Evacuated(ctx)
	p.w.note("%s is evacuated: %v %v", p.self.ID, empty, err)
}

// untilKilled returns a ctx that ends with the process or its membership.
func (p *process) untilKilled(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.w.tasks.Go(func() {
		select {
		case <-p.kill:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// end stops the parts in the order of the shutdown phases: the listener closes
// after the last entity has stopped.
func (p *process) end(regions, clusterPart, transport *part) {
	errs := []error{regions.stop()}
	if p.cluster.SessionValid() && !p.dead.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		ctx, stop := p.untilKilled(ctx)
		if err := p.cluster.Exit(ctx); err != nil {
			p.w.note("%s cannot exit: %v", p.self.ID, err)
		}
		stop()
		cancel()
	}
	errs = append(errs, clusterPart.stop())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	errs = append(errs, p.actors.Shutdown(ctx))
	cancel()
	errs = append(errs, transport.stop())
	if err := errors.Join(errs...); err != nil && !p.dead.Load() {
		p.w.note("%s ended with %v", p.self.ID, err)
	}
	p.dead.Store(true)
}

// enter is a simple bootstrap: whoever finds a node in a cluster joins it; when
// nobody is in one, the lowest living address forms it.
func (p *process) enter(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(p.w.seed, uint64(p.seq)<<8|3))
	quiet := 0 // rounds without a cluster
	for {
		members, lowest := p.look(ctx)
		var err error
		switch {
		case len(members) > 0:
			quiet = 0
			slices.Sort(members)
			rnd.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			jctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			err = p.cluster.Join(jctx, members)
			cancel()
			if err == nil {
				return nil
			}
			var final interface{ Final() bool }
			if errors.As(err, &final) && final.Final() {
				return err
			}
		case lowest:
			if quiet++; quiet > p.w.hesitates {
				fctx, cancel := context.WithTimeout(ctx, 30*time.Second)
				err = p.cluster.Form(fctx)
				cancel()
				if err == nil {
					return nil
				}
			}
		}
		if err != nil {
			p.log.InfoContext(ctx, "not in yet", slog.String("error", err.Error()))
		}
		if !sleep(ctx, time.Duration(200+rnd.IntN(300))*time.Millisecond) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// look asks who is out there: the addresses of nodes that belong to a cluster,
// and whether this is the lowest address of those that answer.
func (p *process) look(ctx context.Context) (members []string, lowest bool) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	lowest = true
	for _, at := range p.w.places {
		if at == p.place {
			continue
		}
		wg.Go(func() {
			id, err := p.tr.Identify(ctx, at.addr)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if id.Generation != 0 {
				members = append(members, at.addr)
			}
			if member.CompareAddr(at.addr, p.place.addr) < 0 {
				lowest = false
			}
		})
	}
	wg.Wait()
	return members, lowest
}

// arbiter is the claim row as the cluster wants it, as in the root package.
type arbiter struct{ journal journal.Arbiter }

// ReadClaim implements cluster.Arbiter.
func (a arbiter) ReadClaim(ctx context.Context) (cluster.Claim, error) {
	c, err := a.journal.ReadClaim(ctx, clusterName)
	return cluster.Claim(c), err
}

// SwapClaim implements cluster.Arbiter.
func (a arbiter) SwapClaim(ctx context.Context, old uint64, next cluster.Claim) (cluster.Claim, bool, error) {
	c, swapped, err := a.journal.SwapClaim(ctx, clusterName, old, journal.Claim(next))
	return cluster.Claim(c), swapped, err
}

// regionCluster is the cluster as sharding wants it, as in the root package.
type regionCluster struct{ *cluster.Cluster }

// Observe implements sharding.Cluster.
func (r regionCluster) Observe(o sharding.TableObserver) { r.Cluster.Observe(tableObserver{o}) }

type tableObserver struct{ o sharding.TableObserver }

// TableReset implements cluster.Observer.
func (t tableObserver) TableReset(s table.Snapshot) {
	t.o.TableReset(sharding.TableView{Generation: s.Generation, Index: s.Index, Members: s.Members, Shards: s.Shards})
}

// TableChanged implements cluster.Observer.
func (t tableObserver) TableChanged(d table.Delta) { t.o.TableChanged(sharding.TableDelta(d)) }
