package sharding_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// note is a message with its sender and number.
type note struct {
	Sender string
	N      int
	// Hold makes the entity wait for the gate.
	Hold bool
}

var shard0 = placement.Key{Type: "log", Shard: 0}

// logType is an entity type with one shard that records what it handled, and
// calls that began while the node had no right to run them.
func logType(j *journal, gate <-chan struct{}) (*logEntity, sharding.Method[note, int]) {
	put, def := sharding.MakeMethod[note, int]("log", "put", nil, nil)
	return &logEntity{j: j, gate: gate, def: sharding.Definition{Name: "log", Shards: 1, Methods: map[string]*sharding.MethodDef{"put": def}}}, put
}

type logEntity struct {
	j    *journal
	gate <-chan struct{}
	def  sharding.Definition
	// work is how long a call takes at most.
	work time.Duration
}

func (e *logEntity) Definition() *sharding.Definition {
	def := e.def
	def.New = func() sharding.Behavior { return &logBehavior{logEntity: e} }
	return &def
}

type logBehavior struct {
	*logEntity
	a *sharding.Activation
}

func (b *logBehavior) Start(_ context.Context, a *sharding.Activation) error {
	b.a = a
	b.j.enter(a)
	return nil
}

func (b *logBehavior) Handle(_ context.Context, c *sharding.Call) (any, error) {
	n, ok := c.Request.(note)
	if !ok {
		return nil, fmt.Errorf("got a %T", c.Request)
	}
	if !b.a.Valid() {
		b.j.trespass()
	}
	if n.Hold {
		<-b.gate
	}
	if b.work > 0 {
		elapse(time.Duration(n.N) * time.Millisecond % b.work)
	}
	b.j.add(b.a.ID+"/"+n.Sender, n.N)
	return n.N, nil
}

func (b *logBehavior) Stop(context.Context) { b.j.leave(b.a.ID) }

func wantSequence(t *testing.T, j *journal, key string, n int) {
	t.Helper()
	want := make([]int, n)
	for i := range want {
		want[i] = i
	}
	if got := j.get(key); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want 0 to %d, each once and in order", key, got, n-1)
	}
}

func TestManySendersKeepTheirOrderAcrossHandoffs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		for i, a := range w.nodes {
			for k, b := range w.nodes {
				if i != k {
					w.net.Delay(a.self, b.self, time.Duration(1+i+2*k)*time.Millisecond)
				}
			}
		}
		const count = 200
		ctx := within(t, time.Minute)
		var wg sync.WaitGroup
		for i, n := range w.nodes {
			for k := range 4 {
				wg.Go(func() {
					sender := fmt.Sprintf("%d-%d", i, k)
					for m := range count {
						if m%10 == 9 {
							if _, err := put.Ask(ctx, n, "e", note{Sender: sender, N: m}); err != nil {
								t.Errorf("ask %s %d: %v", sender, m, err)
							}
						} else if err := put.Tell(ctx, n, "e", note{Sender: sender, N: m}); err != nil {
							t.Errorf("tell %s %d: %v", sender, m, err)
						}
						elapse(time.Duration(k) * 300 * time.Microsecond)
					}
				})
			}
		}
		moves := 0
		go func() {
			for ctx.Err() == nil && moves < 12 {
				elapse(15 * time.Millisecond)
				if w.row(shard0).State == placement.Running {
					moves++
					w.move(shard0, w.nodes[moves%3])
				}
			}
		}()
		wg.Wait()
		if _, err := put.Ask(ctx, w.nodes[0], "e", note{Sender: "last"}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if moves < 5 {
			t.Errorf("got %d moves during the test, want at least 5", moves)
		}
		for i, n := range w.nodes {
			for k := range 4 {
				wantSequence(t, j, fmt.Sprintf("e/%d-%d", i, k), count)
			}
			if lost := n.lost.Load(); lost != 0 {
				t.Errorf("%s: got %d lost tells, want none", n.self.ID, lost)
			}
		}
		j.check(t)
	})
}

func TestAMoveWaitsForEveryMembersBarrierButNotForever(t *testing.T) {
	for name, c := range map[string]struct {
		deaf    bool
		atLeast time.Duration
		atMost  time.Duration
		missing int
	}{
		"all answer":       {false, 0, 20 * time.Millisecond, 0},
		"one never learns": {true, 3 * time.Second, 3*time.Second + 50*time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j := newJournal()
				typ, put := logType(j, nil)
				w := newWorld(t, 3, nil, typ)
				w.assign(shard0, w.nodes[0])
				ctx := within(t, time.Minute)
				if _, err := put.Ask(ctx, w.nodes[1], "e", note{Sender: "s", N: 0}); err != nil {
					t.Fatal(err)
				}
				if c.deaf {
					w.holdTable(w.nodes[2])
				}
				began := time.Now()
				w.move(shard0, w.nodes[1])
				if _, err := put.Ask(ctx, w.nodes[1], "e", note{Sender: "s", N: 1}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < c.atLeast || took > c.atMost {
					t.Errorf("got a move of %s, want %s to %s", took, c.atLeast, c.atMost)
				}
				if s := <-w.nodes[0].stops; s.MissingBarriers != c.missing || s.Cut || s.Entities != 1 {
					t.Errorf("got %+v, want %d missing barriers, one entity, not cut", s, c.missing)
				}
				w.releaseTable(w.nodes[2])
				wantSequence(t, j, "e/s", 2)
			})
		})
	}
}

func TestAMemberThatIsGoneDoesNotHoldUpAMove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, put := logType(newJournal(), nil)
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		w.holdTable(w.nodes[2])
		ctx := within(t, time.Minute)
		began := time.Now()
		w.move(shard0, w.nodes[1])
		elapse(50 * time.Millisecond)
		w.kill(w.nodes[2])
		if _, err := put.Ask(ctx, w.nodes[1], "e", note{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("got a move of %s, want it to go on when the member is down", took)
		}
	})
}

func TestANodeThatDoesNotKnowTheTypeDoesNotHoldUpItsMove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, put := logType(newJournal(), nil)
		counter, _ := counterType(1)
		w := newWorld(t, 2, nil, typ)
		w.start(2, nil, counter)
		w.assign(shard0, w.nodes[0])
		began := time.Now()
		w.move(shard0, w.nodes[1])
		if _, err := put.Ask(within(t, time.Minute), w.nodes[0], "e", note{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("got a move of %s, want it not to wait for a barrier", took)
		}
	})
}

func TestAStaleSenderIsRefusedAndSendsAgainInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		stale := w.nodes[2]
		ctx := within(t, time.Minute)
		if err := put.Tell(ctx, stale, "e", note{Sender: "s", N: 0}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.holdTable(stale)
		w.move(shard0, w.nodes[1])
		elapse(4 * time.Second)
		if row := w.row(shard0); row.Owner != w.nodes[1].self.ID || row.State != placement.Running {
			t.Fatalf("got %+v, want the shard moved", row)
		}
		for i := range 20 {
			if err := put.Tell(ctx, stale, "e", note{Sender: "s", N: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
		elapse(100 * time.Millisecond)
		if got := stale.Stats()["log"]; got.Refused == 0 || got.Buffered != 20 {
			t.Errorf("got %+v, want some refused and 20 buffered", got)
		}
		if info, _ := stale.Shard(shard0); info.Route != fmt.Sprintf("waits for the table to reach index %d", w.index) {
			t.Errorf("got %+v, want the route to wait for the table", info)
		}
		w.releaseTable(stale)
		elapse(50 * time.Millisecond)
		wantSequence(t, j, "e/s", 21)
	})
}

func TestACallForANewerAssignmentWaitsForTheOwnersTable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 2, nil, typ)
		owner, sender := w.nodes[0], w.nodes[1]
		w.holdTable(owner)
		w.assign(shard0, owner)
		ctx := within(t, time.Minute)
		for i := range 10 {
			if err := put.Tell(ctx, sender, "e", note{Sender: "s", N: i}); err != nil {
				t.Fatal(err)
			}
		}
		elapse(time.Second)
		if info, _ := owner.Shard(shard0); info.Parked != 10 {
			t.Errorf("got %+v, want 10 parked", info)
		}
		w.releaseTable(owner)
		elapse(10 * time.Millisecond)
		wantSequence(t, j, "e/s", 10)
	})
}

func TestAnOwnerWhoseShardIsTakenAwayGivesQueuedCallsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		gate := make(chan struct{})
		typ, put := logType(j, gate)
		w := newWorld(t, 3, nil, typ)
		w.assign(shard0, w.nodes[0])
		ctx := within(t, time.Minute)
		blocked := make(chan error, 1)
		go func() {
			_, err := put.Ask(ctx, w.nodes[0], "e", note{Sender: "blocked", Hold: true})
			blocked <- err
		}()
		synctest.Wait()
		for i := range 30 {
			for k, n := range w.nodes {
				if err := put.Tell(ctx, n, "e", note{Sender: fmt.Sprint(k), N: i}); err != nil {
					t.Fatal(err)
				}
			}
			if i == 15 {
				synctest.Wait()
				w.expire(w.nodes[0])
				w.assign(shard0, w.nodes[1])
			}
		}
		close(gate)
		wantCode(t, <-blocked, sharding.Lost)
		elapse(time.Second)
		for k := range w.nodes {
			wantSequence(t, j, fmt.Sprintf("e/%d", k), 30)
		}
		j.check(t)
	})
}

func TestAFullBufferIsAnErrorAndNothingIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, put := logType(j, nil)
		w := newWorld(t, 2, func(c *sharding.Config) { c.BufferCalls = 50 }, typ)
		n := w.nodes[1]
		ctx := within(t, time.Minute)
		for i := range 49 {
			if err := put.Tell(ctx, n, "e", note{Sender: "s", N: i}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := put.Ask(within(t, time.Second), n, "e", note{Sender: "gave-up"})
		wantCode(t, err, sharding.Unavailable)
		if err := put.Tell(ctx, n, "e", note{Sender: "s", N: 49}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, put.Tell(ctx, n, "e", note{Sender: "s", N: 50}), sharding.Overloaded)
		w.assign(shard0, w.nodes[0])
		elapse(time.Second)
		wantSequence(t, j, "e/s", 50)
		if got := j.get("e/gave-up"); got != nil {
			t.Errorf("got the call run that was reported as not run")
		}
	})
}

func TestABufferIsBoundInBytesAndOverTheNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		text := sharding.NewType[struct{}]("text")
		text.Shards = 100
		put := sharding.Handle(text, "put", func(_ *struct{}, s string) (int, error) { return len(s), nil })
		w := newWorld(t, 1, func(c *sharding.Config) { c.NodeBufferBytes = 3 << 20 }, text)
		ctx := within(t, time.Minute)
		big := string(make([]byte, 100_000)) // about 600 kB as JSON
		if err := put.Tell(ctx, w.nodes[0], "a", big); err != nil {
			t.Fatal(err)
		}
		wantCode(t, put.Tell(ctx, w.nodes[0], "a", big), sharding.Overloaded)
		fits := 1
		for i := range 20 {
			if put.Tell(ctx, w.nodes[0], fmt.Sprint(i), big) == nil {
				fits++
			}
		}
		if fits != 5 {
			t.Errorf("got %d calls of 600 kB on a node with 3 MiB, want 5", fits)
		}
	})
}

func TestASlowEntityIsCutAndItsQueueRunsAtTheNewOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		gate := make(chan struct{})
		typ, put := logType(j, gate)
		w := newWorld(t, 2, nil, typ)
		a, b := w.nodes[0], w.nodes[1]
		w.assign(shard0, a)
		ctx := within(t, time.Minute)
		blocked := make(chan error, 1)
		go func() {
			_, err := put.Ask(ctx, b, "e", note{Sender: "blocked", Hold: true})
			blocked <- err
		}()
		synctest.Wait()
		for i := range 10 {
			if err := put.Tell(ctx, b, "e", note{Sender: "s", N: i}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		w.move(shard0, b)
		elapse(6 * time.Second) // past the drain, within the time to stop
		close(gate)
		if err := <-blocked; err != nil {
			t.Errorf("got %v, want the reply of a call that ended before the shard was given away", err)
		}
		elapse(time.Second)
		wantSequence(t, j, "e/s", 10)
		if s := <-a.stops; !s.Cut || s.Abandoned != 0 {
			t.Errorf("got %+v, want cut and none abandoned", s)
		}
	})
}

func TestAnEntityThatDoesNotReturnIsAbandonedWithinTheDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		gate := make(chan struct{})
		typ, put := logType(j, gate)
		w := newWorld(t, 2, nil, typ)
		a, b := w.nodes[0], w.nodes[1]
		w.assign(shard0, a)
		ctx := within(t, time.Minute)
		results := make(chan error, 2)
		for _, n := range w.nodes {
			go func() {
				_, err := put.Ask(ctx, n, "e", note{Sender: "blocked", Hold: true})
				results <- err
			}()
			synctest.Wait()
		}
		began := time.Now()
		w.move(shard0, b)
		if _, err := put.Ask(ctx, b, "f", note{Sender: "s"}); err != nil {
			t.Errorf("got %v, want the shard served by its new owner", err)
		}
		if took := time.Since(began); took < 7*time.Second || took > 9100*time.Millisecond {
			t.Errorf("got %s, want drain, stop and settle timeouts, 9 s", took)
		}
		if s := <-a.stops; s.Abandoned != 1 {
			t.Errorf("got %+v, want one abandoned entity", s)
		}
		for range w.nodes {
			wantCode(t, <-results, sharding.Lost)
		}
		close(gate)
	})
}
