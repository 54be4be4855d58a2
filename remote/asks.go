package remote

import "time"

// Tick is the resolution of ask deadlines: an ask fails at most two ticks after
// its deadline, never before.
const Tick = 10 * time.Millisecond

// wheelSize is the number of buckets of the deadline wheel. Deadlines beyond
// one turn stay in their bucket for further turns.
const wheelSize = 512

// slot is the place of an ask in the table. Free slots form a list through next,
// those of one bucket of the wheel a list through prev and next.
type slot struct {
	done       func([]byte, error)
	size       int
	gen        uint32
	due        int64
	prev, next int32
	sent       bool
}

// AskReply is the answer to an ask.
type AskReply struct {
	Ask     uint64
	Payload []byte
	Err     error

	done func([]byte, error)
}

// add opens a slot for an ask and returns its number.
func (o *Outbox) add(p Post) uint64 {
	i := o.free
	if i < 0 {
		i = int32(len(o.slots))
		o.slots = append(o.slots, slot{})
	} else {
		o.free = o.slots[i].next
	}
	s := &o.slots[i]
	s.done, s.size, s.sent = p.Done, len(p.Payload), false
	// A deadline inside a tick is due at the tick's end; one in the past is due
	// at the next tick.
	s.due = max(int64((p.Deadline.Sub(o.start)+Tick-1)/Tick), o.tick+1)
	b := &o.wheel[s.due%wheelSize]
	s.prev, s.next = -1, *b
	if *b >= 0 {
		o.slots[*b].prev = i
	}
	*b = i
	o.asks++
	return uint64(s.gen)<<32 | uint64(i+1)
}

// find returns the open slot of an ask, nil when the ask is over.
func (o *Outbox) find(ask uint64) *slot {
	i := int64(ask&0xffffffff) - 1
	if i < 0 || i >= int64(len(o.slots)) {
		return nil
	}
	if s := &o.slots[i]; s.done != nil && s.gen == uint32(ask>>32) {
		return s
	}
	return nil
}

// release gives the slot of an ask back. The ask must be open.
func (o *Outbox) release(ask uint64) {
	i := int32(ask&0xffffffff) - 1
	s := &o.slots[i]
	if s.prev >= 0 {
		o.slots[s.prev].next = s.next
	} else {
		o.wheel[s.due%wheelSize] = s.next
	}
	if s.next >= 0 {
		o.slots[s.next].prev = s.prev
	}
	s.done = nil
	s.gen++
	s.next = o.free
	o.free = i
	o.asks--
}

// Expire fails the asks whose deadline has passed and returns how many are
// still open.
func (o *Outbox) Expire(now time.Time) int {
	var due []AskReply
	o.mu.Lock()
	to := int64(now.Sub(o.start) / Tick)
	from := max(o.tick+1, to-wheelSize+1)
	for t := from; t <= to && o.asks > 0; t++ {
		for i := o.wheel[t%wheelSize]; i >= 0; {
			s := &o.slots[i]
			next := s.next
			if s.due <= to {
				due = append(due, o.fail(i, &Error{Code: CodeTimeout, Text: "no reply before the deadline"}))
			}
			i = next
		}
	}
	o.tick = max(o.tick, to)
	if len(due) > 0 {
		o.tidy()
		o.signalRoom()
	}
	open := o.asks
	o.mu.Unlock()
	finish(due)
	return open
}

// LoseSent fails the asks that were sent: their connection broke.
func (o *Outbox) LoseSent(text string) {
	o.mu.Lock()
	var lost []AskReply
	for i := range o.slots {
		if s := &o.slots[i]; s.done != nil && s.sent {
			lost = append(lost, o.fail(int32(i), &Error{Code: CodeLaneLost, Text: text}))
		}
	}
	o.signalRoom()
	o.mu.Unlock()
	finish(lost)
}

// finish calls the Done functions of failed asks.
func finish(failed []AskReply) {
	for _, r := range failed {
		r.done(nil, r.Err)
	}
}

// fail releases slot i and returns how its ask ends: with err when it was sent,
// as not sent otherwise.
func (o *Outbox) fail(i int32, err *Error) AskReply {
	s := &o.slots[i]
	r := AskReply{Err: err, done: s.done}
	if !s.sent {
		if err.Code == CodeTimeout && err.Err == nil {
			err.Text = "the deadline passed while the message was queued"
		}
		err.Code = CodeNotSent
	}
	if s.size >= 0 { // still in the queue: it takes no room any more
		o.live--
		o.bytes -= s.size
	}
	o.release(uint64(s.gen)<<32 | uint64(i+1))
	return r
}
