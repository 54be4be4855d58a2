package sharding

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/sharding/placement"
)

const (
	// steerTick is how often slots that wait for something are looked at, for
	// their deadlines; what can be waited for wakes steer.
	steerTick = 10 * time.Millisecond
	// roomTick is the same while a lane's queue is full.
	roomTick       = time.Millisecond
	releaseTimeout = 3 * time.Second
	// releaseGrace is how long Run goes on telling the leader what has stopped.
	releaseGrace = time.Second
)

// Run serves until ctx ends. Then it takes no more calls, lets the entities
// work off what they hold within DrainTimeout and StopTimeout, tells the leader
// what has stopped, fails the calls that still wait with Stopped, and returns
// after its last goroutine has ended.
//
//	steer    moves slots along when the table, a reply or time says so
//	releaser tells the leader which shards have stopped
//	sweep    marks idle entities
func (r *Regions) Run(ctx context.Context) error {
	if r.ran.Swap(true) {
		return errors.New("sharding: Run was called twice: make new Regions")
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { r.steer(inner) })
	wg.Go(func() { r.release(inner) })
	wg.Go(func() { r.sweep(inner) })

	<-ctx.Done()
	r.closing.Store(true)
	r.activateAll()
	grace := r.cfg.DrainTimeout + r.cfg.StopTimeout + time.Second
	if !r.await(grace, func() bool { return r.Running() == 0 }) {
		r.cfg.Logger.WarnContext(ctx, "regions end with shards that have not stopped", slog.Int("shards", r.Running()))
	}
	r.await(releaseGrace, func() bool { return r.releases.len() == 0 })
	r.stopped.Store(true)
	cancel()
	wg.Wait()
	r.failWaiting()
	r.stop()
	return nil
}

// await looks every tick whether done holds, for at most d.
func (r *Regions) await(d time.Duration, done func() bool) bool {
	end := time.Now().Add(d)
	tick := time.NewTicker(roomTick)
	defer tick.Stop()
	for !done() {
		if !time.Now().Before(end) {
			return false
		}
		<-tick.C
	}
	return true
}

func (r *Regions) activateAll() {
	for _, region := range r.regions {
		for i := range region.slots {
			s := &region.slots[i]
			s.mu.Lock()
			s.activate()
			s.unlock()
		}
	}
	r.steerList.wake()
}

// failWaiting ends what waits in buffers; nothing is added after stopped is set.
func (r *Regions) failWaiting() {
	for _, region := range r.regions {
		for i := range region.slots {
			s := &region.slots[i]
			s.mu.Lock()
			s.open = false
			for c := s.buf.head; c != nil; c = s.buf.head {
				s.unbuffer(c)
				s.conclude(c, result{err: c.fail(Stopped, errStopped)})
			}
			s.unpark(time.Now())
			s.unlock()
		}
	}
}

// steerList holds the slots that steer is to look at.
type steerList struct {
	mu    sync.Mutex
	slots []*slot
	bell  chan struct{}
}

// add is called with the slot's lock held, by whoever set listed.
func (l *steerList) add(s *slot) {
	l.mu.Lock()
	l.slots = append(l.slots, s)
	l.mu.Unlock()
	l.wake()
}

func (l *steerList) wake() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *steerList) take(spare []*slot) []*slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	slots := l.slots
	l.slots = spare[:0]
	return slots
}

// steer advances the slots that wait for something.
func (r *Regions) steer(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var kept, spare []*slot
	for {
		added := r.steerList.take(spare)
		now := time.Now()
		soon := false
		kept = append(kept, added...)
		clear(added)
		spare = added
		n := 0
		for _, s := range kept {
			s.mu.Lock()
			keep, room := s.advance(now)
			soon = soon || room
			s.listed = keep
			s.unlock()
			if keep {
				kept[n] = s
				n++
			}
		}
		clear(kept[n:])
		kept = kept[:n]
		var tick <-chan time.Time
		if n > 0 {
			d := steerTick
			if soon {
				d = roomTick
			}
			timer.Reset(d)
			tick = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-r.steerList.bell:
		case <-tick:
		}
	}
}

// releases holds what the leader is to be told.
type releases struct {
	mu   sync.Mutex
	ops  map[placement.Key]placement.Op
	bell chan struct{}
}

func (l *releases) add(op placement.Op) {
	l.mu.Lock()
	l.ops[op.Key] = op
	l.mu.Unlock()
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *releases) drop(k placement.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ops, k)
}

func (l *releases) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ops)
}

func (l *releases) take() []placement.Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	ops := make([]placement.Op, 0, len(l.ops))
	for _, op := range l.ops {
		ops = append(ops, op)
	}
	slices.SortFunc(ops, func(a, b placement.Op) int { return placement.CompareKeys(a.Key, b.Key) })
	return ops
}

// release tells the leader what has stopped, again and again until the table
// shows it.
func (r *Regions) release(ctx context.Context) {
	var wait time.Duration
	for {
		var retry <-chan time.Time
		if ops := r.releases.take(); len(ops) > 0 {
			callCtx, cancel := context.WithTimeout(ctx, releaseTimeout)
			err := r.cfg.Cluster.Released(callCtx, ops)
			cancel()
			if err != nil {
				wait = min(max(2*wait, backoffMin), time.Second)
				r.cfg.Logger.DebugContext(ctx, "release of shards failed, trying again", slog.Int("shards", len(ops)), slog.Any("error", err))
			} else {
				wait = backoffMax
			}
			if r.releases.len() > 0 {
				retry = time.After(jitter(wait))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-r.releases.bell:
		case <-retry:
		}
	}
}

// sweep marks entities that have been idle for long enough.
func (r *Regions) sweep(ctx context.Context) {
	interval := 15 * time.Second
	passivates := false
	for _, region := range r.regions {
		if d := region.def.PassivateAfter; d > 0 {
			passivates = true
			interval = min(interval, max(d/8, time.Millisecond))
		}
	}
	if !passivates {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, region := range r.regions {
			if region.def.PassivateAfter <= 0 {
				continue
			}
			now := time.Since(r.began)
			for i := range region.slots {
				region.slots[i].sweep(now, region.def.PassivateAfter)
			}
		}
	}
}

// sweep marks the entities that have none queued and of which no sweep has seen
// a call end for that long. So that calls need not read the clock, it is the
// sweep's time that counts: an entity may stay for up to two intervals more.
func (s *slot) sweep(now, idle time.Duration) {
	s.mu.Lock()
	defer s.unlock()
	h := s.host
	if h == nil || h.state != hostTakes {
		return
	}
	for _, e := range h.entities {
		switch {
		case e.touched.Load():
			e.touched.Store(false)
			e.used = now
		case !e.marked && e.queued.Load() == 0 && now-e.used >= idle:
			e.marked = e.tellMark(markPassivate) == nil
		}
	}
}
