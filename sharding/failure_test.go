package sharding_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

func TestACommandWithAnIDSurvivesTheCrashOfItsOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		gate := make(chan struct{})
		defer close(gate)
		typ, put := logType(j, gate)
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		caller := w.nodes[2]
		hold := note{Sender: "held", Hold: true}
		withID, without := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := put.Ask(ctx, caller, "held", hold)
			without <- err
		}()
		synctest.Wait()
		go func() {
			_, err := put.Ask(sharding.CommandID(ctx, "k"), caller, "held", note{Sender: "s"})
			withID <- err
		}()
		synctest.Wait()
		w.kill(w.nodes[0])
		err := <-without
		wantCode(t, err, sharding.Lost)
		if !sharding.MayHaveRun(err) {
			t.Errorf("got %v, want it to say that it may have run", err)
		}
		elapse(100 * time.Millisecond)
		w.assign(shard0, w.nodes[1])
		if err := <-withID; err != nil {
			t.Errorf("got %v, want the command retried at the new owner", err)
		}
		wantSequence(t, j, "held/s", 1)
	})
}

func TestAMethodThatOnlyReadsSurvivesTheCrashOfTheOwnerWithoutAnID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		typ, look := logType(newJournal(), gate)
		typ.Definition().Methods[look.Name()].ReadOnly = true
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		result := make(chan error, 1)
		go func() {
			_, err := look.Ask(within(t, time.Minute), w.nodes[2], "e", note{Sender: "s", Hold: true})
			result <- err
		}()
		synctest.Wait()
		w.kill(w.nodes[0])
		close(gate)
		elapse(100 * time.Millisecond)
		w.assign(shard0, w.nodes[1])
		if err := <-result; err != nil {
			t.Errorf("got %v, want the question asked again at the new owner", err)
		}
	})
}

func TestACallInFlightToAnExpiredOwnerEndsBeforeTheOwnerIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		caller := w.nodes[2]
		ctx := within(t, time.Minute)
		if _, err := put.Ask(ctx, caller, "e", note{Sender: "s"}); err != nil {
			t.Fatal(err)
		}
		for _, n := range w.nodes[1:] {
			w.net.Cut(w.nodes[0].self, n.self)
		}
		results := make(chan error, 2)
		began := time.Now()
		go func() {
			_, err := put.Ask(ctx, caller, "e", note{Sender: "without"})
			results <- err
		}()
		synctest.Wait()
		go func() {
			elapse(3 * time.Second)
			w.expire(w.nodes[0])
			w.assign(shard0, w.nodes[1])
		}()
		_, err := put.Ask(sharding.CommandID(ctx, "k"), caller, "e", note{Sender: "with"})
		if took := time.Since(began); err != nil || took > 3300*time.Millisecond {
			t.Errorf("got %v after %s, want the command served 300 ms after the expiry", err, took)
		}
		wantCode(t, <-results, sharding.Lost)
	})
}

func TestWithoutASessionNothingRunsAndTheOrderIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		gate := make(chan struct{})
		typ, put := logType(j, gate)
		w := newWorld(t, 2, nil, typ)
		owner := w.nodes[0]
		w.assign(shard0, owner)
		ctx := within(t, time.Minute)
		held := make(chan error, 1)
		go func() {
			_, err := put.Ask(ctx, owner, "e", note{Sender: "held", Hold: true})
			held <- err
		}()
		synctest.Wait()
		tell := func(from, to int) {
			for i := from; i < to; i++ {
				for k, n := range w.nodes {
					if err := put.Tell(ctx, n, "e", note{Sender: fmt.Sprint(k), N: i}); err != nil {
						t.Fatal(err)
					}
				}
			}
			synctest.Wait()
		}
		tell(0, 10) // queued with the entity
		owner.session.Store(false)
		tell(10, 20) // refused
		close(gate)
		err := <-held
		wantCode(t, err, sharding.Lost) // its reply is withheld
		for _, n := range w.nodes {
			began := time.Now()
			_, err := put.Ask(within(t, time.Second), n, "e", note{Sender: "refused"})
			wantCode(t, err, sharding.Unavailable)
			if took := time.Since(began); took != time.Second {
				t.Errorf("got %s, want the call tried until its ctx ended", took)
			}
		}
		if got := j.get("e/0"); got != nil {
			t.Errorf("got %v run without a session, want nothing", got)
		}
		owner.session.Store(true)
		elapse(time.Second)
		for k := range w.nodes {
			wantSequence(t, j, fmt.Sprintf("e/%d", k), 20)
		}
		if got := j.get("e/refused"); got != nil {
			t.Error("got a call run that was reported as not run")
		}
		j.check(t)
	})
}

func TestASessionThatBlinksDoesNotReorderWhatIsQueued(t *testing.T) {
	for name, caller := range map[string]int{"local": 0, "remote": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j := newJournal()
				gate := make(chan struct{})
				typ, put := logType(j, gate)
				w := newWorld(t, 2, nil, typ)
				owner := w.nodes[0]
				w.assign(shard0, owner)
				ctx := within(t, time.Minute)
				if err := put.Tell(ctx, owner, "e", note{Sender: "held", Hold: true}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for i := range 10 {
					if err := put.Tell(ctx, w.nodes[caller], "e", note{Sender: "s", N: i}); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				// The first check is that of the held call's reply, the second is
				// before the first queued call.
				owner.blink.Store(2)
				close(gate)
				elapse(time.Second)
				wantSequence(t, j, "e/s", 10)
			})
		})
	}
}

func TestTheTableClosesTheGateBeforeItGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 2, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		if _, err := put.Ask(ctx, w.nodes[1], "e", note{}); err != nil {
			t.Fatal(err)
		}
		a := j.activation("e")
		if !a.Valid() {
			t.Fatal("got an invalid activation, want a valid one")
		}
		w.expire(w.nodes[0])
		if a.Valid() {
			t.Error("got a valid activation after the table took the shard away")
		}
	})
}

// fencing is an entity whose store can fence it.
type fencing struct {
	j      *journal
	fenced *atomic.Bool
	a      *sharding.Activation
}

func (f *fencing) Start(_ context.Context, a *sharding.Activation) error {
	f.a = a
	f.j.enter(a)
	return nil
}

func (f *fencing) Handle(_ context.Context, c *sharding.Call) (any, error) {
	if f.fenced.Load() {
		err := errors.New("a newer claim exists")
		f.a.StopShard(err)
		return nil, errors.Join(sharding.Errorf(sharding.Unavailable, "fenced: %w", err), sharding.ErrStop)
	}
	if !f.a.Valid() {
		return nil, errors.New("got a call while not valid")
	}
	return c.Request, nil
}

func (f *fencing) Stop(context.Context) { f.j.leave(f.a.ID) }

type entityFunc func() *sharding.Definition

func (f entityFunc) Definition() *sharding.Definition { return f() }

func TestAFencedShardIsStoppedReleasedAndServedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		var fenced atomic.Bool
		echo, def := sharding.MakeMethod[int, int]("fencing", "echo", nil, nil)
		typ := entityFunc(func() *sharding.Definition {
			return &sharding.Definition{
				Name: "fencing", Shards: 1, Methods: map[string]*sharding.MethodDef{"echo": def},
				New: func() sharding.Behavior { return &fencing{j: j, fenced: &fenced} },
			}
		})
		w := newWorld(t, 2, nil, typ)
		w.manual = true
		key := placement.Key{Type: "fencing"}
		w.assign(key, w.nodes[0])
		ctx := within(t, time.Minute)
		for i := range 5 {
			if _, err := echo.Ask(ctx, w.nodes[1], fmt.Sprint(i), i); err != nil {
				t.Fatal(err)
			}
		}
		fenced.Store(true)
		result := make(chan error, 1)
		go func() {
			_, err := echo.Ask(ctx, w.nodes[1], "0", 7)
			result <- err
		}()
		elapse(time.Second)
		if row := w.row(key); row.State != placement.Unassigned {
			t.Fatalf("got %+v, want the shard released", row)
		}
		if s := <-w.nodes[0].stops; s.Entities == 0 || s.Abandoned != 0 {
			t.Errorf("got %+v, want its entities stopped", s)
		}
		for id, n := range j.active {
			if n != 0 {
				t.Errorf("entity %s: got %d activations, want none", id, n)
			}
		}
		fenced.Store(false)
		w.assign(key, w.nodes[1])
		// The store said that nothing was written, so the call is sent again.
		if err := <-result; err != nil {
			t.Errorf("got %v, want the fenced call served by the other node", err)
		}
		if got, err := echo.Ask(ctx, w.nodes[0], "0", 8); err != nil || got != 8 {
			t.Errorf("got %d, %v, want the shard served by the other node", got, err)
		}
	})
}

func TestANewGenerationStopsWhatRanInTheOldOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 2, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		if _, err := put.Ask(ctx, w.nodes[1], "e", note{Sender: "s", N: 0}); err != nil {
			t.Fatal(err)
		}
		old := j.activation("e")
		w.mu.Lock()
		w.generation++
		w.index = 1 // a new log
		for _, n := range w.nodes {
			n.observer.TableReset(w.view())
			if old.Valid() {
				t.Error("got the old activation valid after the reset, want the gate closed by then")
			}
		}
		w.mu.Unlock()
		if s := <-w.nodes[0].stops; s.Entities != 1 {
			t.Errorf("got %+v, want the old activation stopped", s)
		}
		if _, err := put.Ask(ctx, w.nodes[1], "e", note{Sender: "s", N: 1}); err != nil {
			t.Errorf("got %v, want the shard served in the new generation", err)
		}
		wantSequence(t, j, "e/s", 2)
	})
}

func TestAFullMailboxIsOverloaded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		j := newJournal()
		typ, put := logType(j, gate)
		typ.def.Mailbox = 5
		w := newWorld(t, 2, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		if err := put.Tell(ctx, w.nodes[0], "e", note{Sender: "held", Hold: true}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 4 {
			if err := put.Tell(ctx, w.nodes[0], "e", note{Sender: "s", N: i}); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range w.nodes {
			_, err := put.Ask(ctx, n, "e", note{Sender: "s", N: 4})
			wantCode(t, err, sharding.Overloaded)
		}
		close(gate)
		synctest.Wait()
		wantSequence(t, j, "e/s", 4)
	})
}

func TestACallWhoseTimeIsUpIsNotRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		j := newJournal()
		typ, put := logType(j, gate)
		w := newWorld(t, 2, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		if err := put.Tell(ctx, w.nodes[0], "e", note{Sender: "held", Hold: true}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, err := put.Ask(within(t, time.Second), w.nodes[0], "e", note{Sender: "local"})
		wantCode(t, err, sharding.Unavailable) // it is known not to have begun
		_, err = put.Ask(within(t, time.Second), w.nodes[1], "e", note{Sender: "remote"})
		wantCode(t, err, sharding.Timeout)
		close(gate)
		elapse(time.Second)
		if l, r := j.get("e/local"), j.get("e/remote"); l != nil || r != nil {
			t.Errorf("got %v and %v, want neither call run after its time", l, r)
		}
	})
}

func TestRunEndsAfterItsEntitiesAndReleasesItsShards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 2, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		if _, err := put.Ask(ctx, w.nodes[0], "e", note{Sender: "s"}); err != nil {
			t.Fatal(err)
		}
		w.nodes[0].cancel()
		if err := <-w.nodes[0].done; err != nil {
			t.Fatal(err)
		}
		w.nodes[0].done <- nil
		if row := w.row(shard0); row.State != placement.Unassigned {
			t.Errorf("got %+v, want the shard released", row)
		}
		_, err := put.Ask(ctx, w.nodes[0], "e", note{})
		wantCode(t, err, sharding.Stopped)
	})
}

func TestNoCallIsLostBetweenPassivationAndTheNextCall(t *testing.T) {
	j := newJournal()
	var starts, stops atomic.Int64
	bubble(t, func(t *testing.T) {
		touch, def := sharding.MakeMethod[int, int]("idle", "touch", nil, nil)
		typ := entityFunc(func() *sharding.Definition {
			return &sharding.Definition{
				Name: "idle", Shards: 4, PassivateAfter: 8 * time.Millisecond, Methods: map[string]*sharding.MethodDef{"touch": def},
				New: func() sharding.Behavior { return &counting{j: j, starts: &starts, stops: &stops} },
			}
		})
		w := newWorld(t, 2, nil, typ)
		w.spread("idle")
		ctx := within(t, time.Minute)
		var wg sync.WaitGroup
		for k := range 8 {
			wg.Go(func() {
				id := fmt.Sprint(k % 4)
				for i := range 300 {
					// Around the moment at which the sweep marks the entity.
					elapse(7*time.Millisecond + time.Duration(i%30)*100*time.Microsecond)
					if got, err := touch.Ask(ctx, w.nodes[k%2], id, i); err != nil || got != i {
						t.Errorf("got %d, %v, want %d", got, err, i)
					}
				}
			})
		}
		wg.Wait()
		elapse(time.Second)
		for _, n := range w.nodes {
			if s := n.Stats()["idle"]; s.Entities != 0 || s.Refused != 0 {
				t.Errorf("got %+v, want no entity in memory and no call given back", s)
			}
		}
	})
	j.check(t)
	if starts.Load() != stops.Load() || starts.Load() < 20 {
		t.Errorf("got %d starts and %d stops, want as many of both and at least 20", starts.Load(), stops.Load())
	}
}

type counting struct {
	j             *journal
	starts, stops *atomic.Int64
	id            string
}

func (c *counting) Start(_ context.Context, a *sharding.Activation) error {
	c.id = a.ID
	c.j.enter(a)
	c.starts.Add(1)
	return nil
}

func (c *counting) Handle(_ context.Context, call *sharding.Call) (any, error) {
	return call.Request, nil
}

func (c *counting) Stop(context.Context) {
	elapse(time.Millisecond) // so that calls come meanwhile
	c.stops.Add(1)
	c.j.leave(c.id)
}
