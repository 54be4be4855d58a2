package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
)

// storeFault is what is wrong with the store, for one process or for all.
type storeFault struct {
	down  bool          // nothing is written: ErrUnavailable
	doubt float64       // share of writes whose outcome is not told: ErrUnknown
	slow  time.Duration // added to each call
}

// store is the shared journal as one process sees it: slow, at times away, and
// at times silent about what became of a write.
type store struct {
	*memory.Store
	w *world
	p *process

	mu  sync.Mutex
	rnd *rand.Rand
}

var _ journal.Journal = (*store)(nil)

// fate of one call.
type fate struct {
	before, after time.Duration // how long the way there and back takes
	fault         error         // ErrUnavailable before anything was done
	doubt         bool          // the answer is lost
	lands         bool          // in doubt: it is done all the same
	late          time.Duration // in doubt: this long after the answer was given up
	frozenAfter   bool          // a paused process had sent it already
}

func (s *store) draw() fate {
	f := s.w.storeFaultFor(s.p)
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fate{
		before: time.Duration(s.rnd.IntN(1500)) * time.Microsecond, after: time.Duration(s.rnd.IntN(1500)) * time.Microsecond,
		frozenAfter: s.rnd.IntN(2) == 0,
	}
	out.before += f.slow * time.Duration(s.rnd.IntN(100)) / 100
	if f.down {
		out.fault = fmt.Errorf("%w: simulated outage", journal.ErrUnavailable)
	}
	if s.rnd.Float64() < f.doubt {
		out.doubt, out.lands = true, s.rnd.IntN(3) > 0
		if s.rnd.IntN(2) == 0 {
			out.late = time.Duration(s.rnd.IntN(2000)) * time.Millisecond
		}
	}
	return out
}

// call runs do as the fate wants it. A write in doubt may be done after call
// has returned.
func call[T any](ctx context.Context, s *store, write bool, do func(ctx context.Context) (T, error)) (T, error) {
	var zero T
	f := s.draw()
	if !f.frozenAfter {
		s.p.awaitThaw()
	}
	if !sleep(ctx, f.before) {
		return zero, fmt.Errorf("%w: %w", journal.ErrUnavailable, ctx.Err())
	}
	if f.fault != nil {
		return zero, f.fault
	}
	if s.p.dead.Load() {
		return zero, journal.ErrClosed
	}
	if !write || !f.doubt {
		v, err := do(ctx)
		s.p.awaitThaw()
		_ = sleep(context.WithoutCancel(ctx), f.after)
		return v, err
	}
	s.w.oracle.count(&s.w.oracle.stats.InDoubt)
	if f.lands {
		late := func() { _, _ = do(context.WithoutCancel(ctx)) }
		if f.late == 0 {
			late()
		} else {
			s.w.tasks.Go(func() { //nolint:contextcheck // the write lands although its caller has left
				_ = sleep(context.Background(), f.late)
				late()
			})
		}
	}
	_ = sleep(ctx, f.after)
	return zero, fmt.Errorf("%w: simulated", journal.ErrUnknown)
}

// Append implements journal.Journal.
func (s *store) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	out := make([]journal.Result, len(batch))
	for i := range batch {
		res, err := call(ctx, s, true, func(ctx context.Context) (journal.Result, error) {
			// One lock around the write and the oracle's note of it, so that the
			// oracle sees them in the order of the store.
			s.w.storeMu.Lock()
			defer s.w.storeMu.Unlock()
			r := s.Store.Append(ctx, batch[i:i+1])[0]
			s.w.oracle.appended(activationOf(ctx), &batch[i], r)
			return r, nil
		})
		if err != nil {
			res = journal.Result{Err: err}
		}
		out[i] = res
	}
	return out
}

// Read implements journal.Journal.
func (s *store) Read(ctx context.Context, st journal.Stream, after uint64, limit int) (journal.Page, error) {
	return call(ctx, s, false, func(ctx context.Context) (journal.Page, error) {
		s.w.storeMu.Lock()
		defer s.w.storeMu.Unlock()
		s.w.oracle.loaded(activationOf(ctx), st)
		return s.Store.Read(ctx, st, after, limit)
	})
}

// found is a value that may not be there.
type found[T any] struct {
	value T
	ok    bool
}

// Snapshot implements journal.Journal.
func (s *store) Snapshot(ctx context.Context, st journal.Stream) (journal.Snapshot, bool, error) {
	f, err := call(ctx, s, false, func(ctx context.Context) (found[journal.Snapshot], error) {
		v, ok, err := s.Store.Snapshot(ctx, st)
		return found[journal.Snapshot]{v, ok}, err
	})
	return f.value, f.ok, err
}

// Command implements journal.Journal.
func (s *store) Command(ctx context.Context, st journal.Stream, id string) (journal.Command, bool, error) {
	f, err := call(ctx, s, false, func(ctx context.Context) (found[journal.Command], error) {
		v, ok, err := s.Store.Command(ctx, st, id)
		return found[journal.Command]{v, ok}, err
	})
	return f.value, f.ok, err
}

// Claim implements journal.Journal.
func (s *store) Claim(ctx context.Context, sh journal.Shard, generation, epoch uint64, owner string) (journal.Token, error) {
	return call(ctx, s, true, func(ctx context.Context) (journal.Token, error) {
		return s.Store.Claim(ctx, sh, generation, epoch, owner)
	})
}

// ReadClaim implements journal.Arbiter.
func (s *store) ReadClaim(ctx context.Context, cluster string) (journal.Claim, error) {
	return call(ctx, s, false, func(ctx context.Context) (journal.Claim, error) { return s.Store.ReadClaim(ctx, cluster) })
}

// SwapClaim implements journal.Arbiter.
func (s *store) SwapClaim(ctx context.Context, cluster string, old uint64, next journal.Claim) (journal.Claim, bool, error) {
	f, err := call(ctx, s, true, func(ctx context.Context) (found[journal.Claim], error) {
		v, ok, err := s.Store.SwapClaim(ctx, cluster, old, next)
		return found[journal.Claim]{v, ok}, err
	})
	return f.value, f.ok, err
}

// Close implements journal.Journal; the store is the history's to close.
func (s *store) Close() error { return nil }

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
