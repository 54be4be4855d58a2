package sharding_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// TestWhateverHappensCallsRunInOrderAndErrorsTellTheTruth drives moves,
// expiries, lost sessions, late tables and cut paths at random, while senders
// call. Replay one seed with -run 'Whatever.*/seed_7$'.
func TestWhateverHappensCallsRunInOrderAndErrorsTellTheTruth(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	const (
		nodes    = 4
		shards   = 3
		entities = 5
		senders  = 3 // per node
		length   = 10 * time.Second
	)
	j := newJournal()
	typ, put := logType(j, nil)
	typ.def.Shards, typ.work = shards, 7*time.Millisecond
	w := newWorld(t, nodes, func(c *sharding.Config) { c.BufferCalls = 300 }, typ)
	w.net.BreakAfter(700 * time.Millisecond)
	rnd := rand.New(rand.NewPCG(seed, 7))
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b {
				w.net.Delay(a.self, b.self, time.Duration(rnd.IntN(3000))*time.Microsecond)
			}
		}
	}
	w.spread("log")
	ctx, cancel := context.WithCancel(t.Context())
	var wg, faults sync.WaitGroup
	faults.Go(func() { w.trouble(ctx, rnd, shards) })

	type outcome struct {
		err  error
		tell bool
	}
	var mu sync.Mutex
	outcomes := map[string][]outcome{} // by entity and sender
	began := time.Now()
	for i, n := range w.nodes {
		for k := range senders {
			rnd := rand.New(rand.NewPCG(seed, uint64(100+10*i+k)))
			wg.Go(func() {
				for time.Since(began) < length {
					elapse(time.Duration(rnd.IntN(20)) * time.Millisecond)
					id := fmt.Sprint(rnd.IntN(entities))
					key := fmt.Sprintf("%s/%d-%d", id, i, k)
					mu.Lock()
					number := len(outcomes[key])
					mu.Unlock()
					m := note{Sender: fmt.Sprintf("%d-%d", i, k), N: number}
					o := outcome{tell: rnd.IntN(3) > 0}
					callCtx, done := context.WithTimeout(ctx, time.Duration(50+rnd.IntN(2000))*time.Millisecond)
					if o.tell {
						o.err = put.Tell(context.WithoutCancel(callCtx), n, id, m)
					} else {
						_, o.err = put.Ask(callCtx, n, id, m)
					}
					done()
					mu.Lock()
					outcomes[key] = append(outcomes[key], o)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	cancel()
	faults.Wait()
	w.calm(shards)
	elapse(15 * time.Second) // tells end

	asks, failed, open, lost := 0, 0, 0, int64(0)
	for key, calls := range outcomes {
		runs := map[int]int{}
		last := -1
		for _, n := range j.get(key) {
			if runs[n]++; n <= last {
				t.Errorf("%s: got %d after %d, want the order in which they were made", key, n, last)
			}
			last = n
		}
		for n, o := range calls {
			switch {
			case runs[n] > 1:
				t.Errorf("%s: call %d ran %d times, want at most once", key, n, runs[n])
			case o.tell && o.err == nil:
			case o.err == nil && runs[n] == 0:
				t.Errorf("%s: call %d was answered but has not run", key, n)
			case o.err != nil && !sharding.MayHaveRun(o.err) && runs[n] > 0:
				t.Errorf("%s: call %d has run, but its error says it has not: %v", key, n, o.err)
			}
			if !o.tell {
				asks++
				if o.err != nil {
					failed++
				}
				if o.err != nil && sharding.MayHaveRun(o.err) {
					open++
				}
			}
		}
	}
	j.check(t)
	for _, n := range w.nodes {
		lost += n.lost.Load()
		if s := n.Stats()["log"]; s.Buffered != 0 {
			t.Errorf("%s: got %+v, want nothing left in buffers", n.self.ID, s)
		}
		if _, err := put.Ask(within(t, 10*time.Second), n, "0", note{Sender: "after"}); err != nil {
			t.Errorf("%s: got %v after all was well again", n.self.ID, err)
		}
	}
	t.Logf("%d asks, %d failed, of them %d open; %d tells lost", asks, failed, open, lost)
	if asks == 0 || failed == asks {
		t.Errorf("got %d of %d asks failed, want the test to have tested something", failed, asks)
	}
}

// trouble does something bad every few hundred milliseconds.
func (w *world) trouble(ctx context.Context, rnd *rand.Rand, shards int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		// Odd nanoseconds, so that nothing else happens at the same instant: that
		// a right ends between its check and the call is beyond any check.
		elapse(time.Duration(50+rnd.IntN(300))*time.Millisecond + 137)
		key := placement.Key{Type: "log", Shard: rnd.IntN(shards)}
		a, b := w.nodes[rnd.IntN(len(w.nodes))], w.nodes[rnd.IntN(len(w.nodes))]
		d := time.Duration(rnd.IntN(1000)) * time.Millisecond
		switch rnd.IntN(6) {
		case 0, 1:
			w.move(key, b)
		case 2: // a's session runs out and its shards go elsewhere
			a.session.Store(false)
			w.expire(a)
			wg.Go(func() {
				elapse(d)
				w.renew(a)
			})
		case 3: // a short loss that nobody else sees
			a.session.Store(false)
			wg.Go(func() {
				elapse(d / 10)
				w.renew(a)
			})
		case 4:
			w.holdTable(a)
			wg.Go(func() {
				elapse(d)
				w.releaseTable(a)
			})
		case 5:
			if a != b {
				w.net.Cut(a.self, b.self)
				wg.Go(func() {
					elapse(d)
					w.net.Heal()
				})
			}
		}
		w.assignAll(shards, rnd)
	}
}

// assignAll gives shards without owner to nodes with a session and a current
// table.
func (w *world) assignAll(shards int, rnd *rand.Rand) {
	for i := range shards {
		key := placement.Key{Type: "log", Shard: i}
		to := w.nodes[rnd.IntN(len(w.nodes))]
		if w.row(key).State == placement.Unassigned && to.session.Load() {
			w.assign(key, to)
		}
	}
}

func (w *world) calm(shards int) {
	w.net.Heal()
	for _, n := range w.nodes {
		w.releaseTable(n)
		w.renew(n)
	}
	elapse(15 * time.Second) // moves end
	w.assignAll(shards, rand.New(rand.NewPCG(1, 1)))
	for i := range shards {
		for w.row(placement.Key{Type: "log", Shard: i}).State != placement.Running {
			w.assignAll(shards, rand.New(rand.NewPCG(1, 1)))
			elapse(time.Second)
		}
	}
}
