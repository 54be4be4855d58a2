package sharding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// service is what regions receive on.
const service remote.Service = "sharding"

// Times of a route that nobody needs to configure.
const (
	probeTimeout = time.Second
	backoffMin   = 10 * time.Millisecond
	backoffMax   = 200 * time.Millisecond
	// catchUpTimeout is how long a region waits for its table to reach the index
	// that came with a refusal before it asks again.
	catchUpTimeout = 2 * time.Second
)

// route is the sending side of a slot.
//
//	       owner changed, moving, refused, lane closed
//	open ─────────────────────────────────────────────> buffering
//	  ▲                                                    │
//	  └──── owner known, what was sent before is settled ──┘
//	        (and the owner said yes, if it refused before)
//
// While open, calls go out under the slot's lock, so they leave in the order
// in which they were taken. Everything that is out comes back: as a reply, a
// refusal or a failure. A route opens again only when nothing is out to an
// earlier owner, so refused calls have taken their old place in the buffer
// before a later one is sent.
type route struct {
	open bool
	// Target while open: host is set when it is this node.
	local      *host
	lane       remote.Lane
	sentGen    uint64
	sentEpoch  uint64
	out        callList
	buf        callList
	mixed      bool // buf is not in order of seq
	seq        uint64
	cutSeq     uint64    // tells up to here that come back now would be out of order
	settleBy   time.Time // when to stop waiting for what is out
	barrier    bool      // a barrier is to be posted
	probe      probeState
	probeAt    time.Time
	probeWait  time.Duration
	catchUp    time.Time // when to stop waiting for the table
	waitGen    uint64
	waitIndex  uint64
	noSession  bool // the last local attempt found no session
	bufferedAt time.Time
}

type probeState uint8

const (
	probeNone   probeState = iota // the owner has not refused
	probeDue                      // it has; ask it at probeAt
	probeSent                     // it was asked
	probePassed                   // it takes calls
)

// fits reports whether the open route leads where the table says.
func (s *slot) fits() bool {
	return s.row.State == placement.Running && s.sentEpoch == s.row.Epoch && s.sentGen == s.generation
}

// stale reports whether calls sent for an assignment can only come back.
func (s *slot) stale(epoch, generation uint64) bool {
	return s.row.State == placement.Unassigned || epoch != s.row.Epoch || generation != s.generation
}

func (s *slot) resetProbe() {
	s.probe, s.probeWait, s.probeAt = probeNone, 0, time.Time{}
	s.waitGen, s.waitIndex, s.catchUp = 0, 0, time.Time{}
}

// submit takes a call: it runs here, is on its lane, or waits in the buffer
// when submit returns nil.
func (s *slot) submit(ctx context.Context, c *call) *Error {
	set := s.region.set
	for {
		s.mu.Lock()
		if set.stopped.Load() {
			s.unlock()
			return c.fail(Stopped, errStopped)
		}
		if c.seq == 0 {
			s.seq++
			c.seq = s.seq
		}
		if s.open && s.local != nil {
			if err, taken := s.local.deliverLocal(c); err != nil || taken {
				s.unlock()
				return err
			}
			s.open = false
		}
		if !c.encoded {
			s.unlock()
			if err := c.encode(); err != nil {
				return err
			}
			continue
		}
		if s.open {
			err := s.post(c)
			if err == nil {
				s.unlock()
				return nil
			}
			if errors.Is(err, remote.ErrQueueFull) {
				lane := s.lane
				s.unlock()
				if err := waitRoom(ctx, lane, c.deadline); err != nil {
					return c.fail(Overloaded, fmt.Errorf("the queue to the owner has no room: %w", err))
				}
				continue
			}
			if !errors.Is(err, remote.ErrClosed) {
				s.unlock()
				return c.fail(Unavailable, err)
			}
			s.refuse(time.Now())
		}
		err := s.buffer(c, 1)
		s.activate()
		s.unlock()
		return err
	}
}

// waitRoom returns an error only when the deadline has passed or ctx has ended.
func waitRoom(ctx context.Context, lane remote.Lane, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := lane.WaitRoom(ctx); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// post puts a call on the lane.
func (s *slot) post(c *call) error {
	h := wire.CallHeader{
		Type: s.region.def.Name, Shard: s.shard, Generation: s.sentGen, Epoch: s.sentEpoch,
		Entity: c.id, Method: c.def.Name, CommandID: c.commandID,
	}
	c.generation, c.epoch, c.host = s.sentGen, s.sentEpoch, nil
	payload := wire.AppendCall(make([]byte, 0, wire.CallSize(&h, c.raw)), &h, c.raw)
	err := s.lane.Post(remote.Post{Service: service, Payload: payload, Deadline: c.deadline, Done: c.replied})
	if err == nil {
		s.out.push(c)
	}
	return err
}

// buffer keeps a call until the route opens.
func (s *slot) buffer(c *call, share int) *Error {
	set := s.region.set
	limit, bytes := share*set.cfg.BufferCalls, share*set.cfg.BufferBytes
	if s.buf.n+1 > limit || s.buf.bytes+c.cost() > bytes || !set.waiting.take(c.cost()) {
		s.region.stats.overloads.Add(1)
		return c.fail(Overloaded, fmt.Errorf("shard %d waits for %s and its buffer of %d calls or %d bytes is full", s.shard, s.waitsFor(), limit, bytes))
	}
	if s.buf.tail != nil && s.buf.tail.seq > c.seq {
		s.mixed = true
	}
	if s.buf.n == 0 {
		s.bufferedAt = time.Now()
	}
	s.buf.push(c)
	s.region.stats.buffered.Add(1)
	return nil
}

func (s *slot) unbuffer(c *call) {
	s.buf.remove(c)
	s.region.set.waiting.give(c.size)
	s.region.stats.buffered.Add(-1)
}

// waitsFor says what keeps the route from being open.
func (s *slot) waitsFor() string {
	switch {
	case s.open:
		return "nothing"
	case s.row.State == placement.Unassigned:
		return "an owner"
	case s.row.State == placement.Moving:
		return fmt.Sprintf("its move from %s to %s", s.row.Owner, s.row.To)
	case s.waitIndex > 0:
		return fmt.Sprintf("the table to reach index %d", s.waitIndex)
	case s.probe == probeDue || s.probe == probeSent:
		return fmt.Sprintf("owner %s, which refused, to take calls", s.row.Owner)
	case s.noSession:
		return "this node's session"
	case s.out.n > 0:
		return "calls sent to an earlier owner to come back"
	}
	return fmt.Sprintf("owner %s to be ready", s.row.Owner)
}

// take removes a call that is out. It returns false when the call was finished
// by force before.
func (s *slot) take(c *call) bool {
	if c.list != &s.out {
		return false
	}
	s.out.remove(c)
	if !s.open && s.out.n == 0 {
		s.activate()
	}
	return true
}

// finish ends a call that was out.
func (s *slot) finish(c *call, r result) {
	s.mu.Lock()
	if s.take(c) {
		s.conclude(c, r)
	}
	s.unlock()
}

// conclude hands the result to whoever waits for it.
func (s *slot) conclude(c *call, r result) {
	switch {
	case c.tell:
		if r.err != nil {
			s.lostTell(r.err)
		}
		s.region.set.calls.put(c)
	case c.gone:
	default:
		c.result = r
		c.done <- struct{}{}
	}
}

func (s *slot) lostTell(err *Error) {
	s.region.stats.lostTells.Add(1)
	if f := s.region.set.cfg.Events.TellLost; f != nil {
		s.later(func() { f(err) })
	}
}

// refused takes back a call that the owner did not run.
func (s *slot) refused(c *call, generation, index uint64) {
	s.region.stats.refusals.Add(1)
	err := c.encode()
	now := time.Now()
	s.mu.Lock()
	defer s.unlock()
	if !s.take(c) {
		return
	}
	switch {
	case c.gone:
		return
	case err != nil:
		s.conclude(c, result{err: err})
		return
	case c.tell && c.seq <= s.cutSeq:
		s.conclude(c, result{err: c.fail(Unavailable, errLate)})
		return
	}
	if s.row.State == placement.Running && c.epoch == s.row.Epoch && c.generation == s.generation {
		s.refuse(now)
	}
	s.open = false
	if index > 0 && cmp.Or(cmp.Compare(generation, s.waitGen), cmp.Compare(index, s.waitIndex)) > 0 {
		s.waitGen, s.waitIndex = generation, index
		if s.catchUp.IsZero() {
			s.catchUp = now.Add(catchUpTimeout)
		}
	}
	if err := s.buffer(c, 2); err != nil {
		s.conclude(c, result{err: err})
	}
	s.activate()
}

// refuse notes that the owner does not take calls now.
func (s *slot) refuse(now time.Time) {
	s.open = false
	if s.probe == probeNone || s.probe == probePassed {
		s.probe = probeDue
		s.probeAt = now
		if s.probeWait > 0 {
			s.backOff(now)
		}
	}
}

func (s *slot) backOff(now time.Time) {
	s.probeWait = min(max(2*s.probeWait, backoffMin), backoffMax)
	s.probeAt = now.Add(jitter(s.probeWait))
}

// jitter returns between half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// abandon gives a call up because its ctx ended. It returns false when the
// result has come meanwhile.
func (s *slot) abandon(c *call, cause error) (*Error, bool) {
	s.mu.Lock()
	defer s.unlock()
	switch c.list {
	case &s.buf:
		s.unbuffer(c)
		return c.fail(Unavailable, fmt.Errorf("shard %d waits for %s: %w", s.shard, s.waitsFor(), cause)), true
	case &s.out:
		c.gone = true
		if c.host != nil && c.state.CompareAndSwap(callWaits, callAbandoned) {
			return c.fail(Unavailable, fmt.Errorf("the entity was busy: %w", cause)), true
		}
		return c.fail(Timeout, cause), true
	}
	return nil, false
}
