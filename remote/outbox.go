package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds limit what one lane holds. The zero value of a field means its default.
type Bounds struct {
	// QueueLen is the number of messages that may wait to be sent. Defaults to 16384.
	QueueLen int
	// QueueBytes is the size of payloads that may wait to be sent; the message
	// that crosses it is still taken. Defaults to 32 MiB.
	QueueBytes int
	// MaxMessage is the largest payload of one message or reply. Defaults to 16 MiB.
	MaxMessage int
	// MaxAsks is the number of asks that may wait for a reply. Defaults to 65536.
	MaxAsks int
}

// WithDefaults returns b with its zero fields set to their defaults.
func (b Bounds) WithDefaults() Bounds {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&b.QueueLen, 16384)
	set(&b.QueueBytes, 32<<20)
	set(&b.MaxMessage, 16<<20)
	set(&b.MaxAsks, 65536)
	return b
}

// maxAsk is how long an ask waits whose context has no deadline.
const maxAsk = time.Hour

// frameCost is what a message adds to a batch besides its payload.
const frameCost = 48

// Outbox is the sending half of a lane without its connection: the bounded
// queue, and the table of asks that wait for a reply. It is what transports
// are built from. It starts no goroutine; all methods may be called from any,
// Take from one at a time.
//
//	Post ──> queued ──Take──> sent ──Complete──> done
//	            │               │
//	          Expire          Expire, LoseSent, Close
//	         NotSent         Timeout, LaneLost
//
// Every ask that Post accepted has its Done called exactly once, never while a
// lock is held.
type Outbox struct {
	bounds    Bounds
	deadlines *Deadlines
	start     time.Time
	wake      chan struct{}

	mu     sync.Mutex
	closed bool
	room   chan struct{} // closed when there is room again; nil when nobody waits

	queue []queued // queue[head:] waits, dead asks included
	head  int
	live  int // waiting messages whose ask has not failed
	bytes int // payload bytes of those

	slots []slot
	free  int32 // first free slot, -1 when none
	asks  int
	wheel [wheelSize]int32 // first slot of each bucket, -1 when none
	tick  int64            // last tick that was expired
}

type queued struct {
	service  Service
	payload  []byte
	ask      uint64
	deadline time.Time
}

// Outgoing is a message that Take handed over for sending.
type Outgoing struct {
	Service Service
	Payload []byte
	// Ask names the ask in Complete; 0 for a tell.
	Ask uint64
	// Deadline of the ask, zero for a tell.
	Deadline time.Time
}

// NewOutbox returns an empty outbox whose asks are expired by d.
func NewOutbox(b Bounds, d *Deadlines) *Outbox {
	o := &Outbox{bounds: b.WithDefaults(), deadlines: d, start: time.Now(), wake: make(chan struct{}, 1), free: -1}
	for i := range o.wheel {
		o.wheel[i] = -1
	}
	d.add(o)
	return o
}

// Wake receives when the queue turned from empty to not empty.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }

// Post queues a message as [Lane.Post] does and returns the number of the ask.
func (o *Outbox) Post(p Post) (ask uint64, err error) {
	if len(p.Payload) > o.bounds.MaxMessage {
		return 0, &Error{Code: CodeTooLarge, Text: fmt.Sprintf("payload for %q has %d bytes, the bound is %d: send it in parts or raise MaxMessage on all nodes", p.Service, len(p.Payload), o.bounds.MaxMessage)}
	}
	if len(p.Service) > maxName {
		return 0, &Error{Code: CodeTooLarge, Text: fmt.Sprintf("the name of service %q has %d bytes, the bound is %d", p.Service[:32], len(p.Service), maxName)}
	}
	if p.Done != nil && p.Deadline.IsZero() {
		return 0, &Error{Code: CodeNotSent, Text: fmt.Sprintf("an ask of %q needs a deadline", p.Service)}
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return 0, ErrClosed
	}
	if !o.hasRoom() {
		o.mu.Unlock()
		return 0, ErrQueueFull
	}
	q := queued{service: p.Service, payload: p.Payload, deadline: p.Deadline}
	if p.Done != nil {
		q.ask = o.add(p)
	}
	if len(o.queue) == cap(o.queue) && o.head > len(o.queue)/2 {
		o.compact()
	}
	first := o.live == 0
	o.queue = append(o.queue, q)
	o.live++
	o.bytes += len(p.Payload)
	o.mu.Unlock()
	if first {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	if p.Done != nil {
		o.deadlines.kick()
	}
	return q.ask, nil
}

// waiting counts the messages that wait.
func (o *Outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.live
}

// WaitRoom blocks as [Lane.WaitRoom] does.
func (o *Outbox) WaitRoom(ctx context.Context) error {
	for {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return ErrClosed
		}
		if o.hasRoom() {
			o.mu.Unlock()
			return nil
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Ask posts an ask, waiting for room, and waits for its reply until ctx ends.
func (o *Outbox) Ask(ctx context.Context, s Service, payload []byte) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(maxAsk)
	}
	replies := make(chan AskReply, 1)
	post := Post{Service: s, Payload: payload, Deadline: deadline, Done: func(payload []byte, err error) {
		replies <- AskReply{Payload: payload, Err: err}
	}}
	ask, err := o.Post(post)
	for errors.Is(err, ErrQueueFull) {
		if err := o.WaitRoom(ctx); err != nil {
			return nil, &Error{Code: CodeNotSent, Text: err.Error(), Err: err}
		}
		ask, err = o.Post(post)
	}
	if err != nil {
		return nil, err
	}
	select {
	case r := <-replies:
		return r.Payload, r.Err
	case <-ctx.Done():
		o.Cancel(ask, context.Cause(ctx))
		r := <-replies // Cancel ended it, or whatever came first
		return r.Payload, r.Err
	}
}

// Cancel fails an ask that is still open: with CodeTimeout when it was sent,
// as not sent otherwise.
func (o *Outbox) Cancel(ask uint64, cause error) {
	o.mu.Lock()
	if o.find(ask) == nil {
		o.mu.Unlock()
		return
	}
	r := o.fail(int32(ask&0xffffffff)-1, &Error{Code: CodeTimeout, Text: "the asker stopped waiting: " + cause.Error(), Err: cause})
	o.tidy()
	o.signalRoom()
	o.mu.Unlock()
	r.done(nil, r.Err)
}

// Take moves waiting messages to sent and appends them to into, up to a total
// of about maxBytes; a message above that comes alone. Asks whose deadline has
// passed are left out.
func (o *Outbox) Take(into []Outgoing, maxBytes int, now time.Time) []Outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	for size := 0; o.head < len(o.queue); o.head++ {
		q := &o.queue[o.head]
		var s *slot
		if q.ask != 0 {
			if s = o.find(q.ask); s == nil { // failed while it waited; already uncounted
				*q = queued{}
				continue
			}
		}
		expired := s != nil && !q.deadline.After(now) // Expire will say so
		if cost := len(q.payload) + len(q.service) + frameCost; !expired {
			if size > 0 && size+cost > maxBytes {
				break
			}
			size += cost
			into = append(into, Outgoing{Service: q.service, Payload: q.payload, Ask: q.ask, Deadline: q.deadline})
		}
		if s != nil {
			s.sent = !expired
			s.size = -1
		}
		o.live--
		o.bytes -= len(q.payload)
		*q = queued{}
	}
	if o.head == len(o.queue) {
		o.queue, o.head = o.queue[:0], 0
	}
	o.signalRoom()
	return into
}

// Complete ends asks with their replies, in order. Replies to asks that are
// over are dropped.
func (o *Outbox) Complete(replies []AskReply) {
	o.mu.Lock()
	for i := range replies {
		r := &replies[i]
		r.done = nil
		if s := o.find(r.Ask); s != nil && s.sent {
			r.done = s.done
			o.release(r.Ask)
		}
	}
	o.signalRoom()
	o.mu.Unlock()
	for i := range replies {
		if r := &replies[i]; r.done != nil {
			r.done(r.Payload, r.Err)
			r.done = nil
		}
	}
}

// Seal refuses what comes from now on. What is open stays so until Close.
func (o *Outbox) Seal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// Close seals the outbox and fails everything that is open, from the calling
// goroutine. It returns how many tells were still queued.
func (o *Outbox) Close(text string) (tells int) {
	o.Seal()
	o.mu.Lock()
	for _, q := range o.queue[o.head:] {
		if q.ask == 0 {
			tells++
		}
	}
	var lost []AskReply
	for i := range o.slots {
		if o.slots[i].done != nil {
			lost = append(lost, o.fail(int32(i), &Error{Code: CodeLaneLost, Text: text, Err: ErrClosed}))
		}
	}
	o.queue, o.head, o.live, o.bytes = nil, 0, 0, 0
	o.mu.Unlock()
	o.deadlines.remove(o)
	finish(lost)
	return tells
}

func (o *Outbox) hasRoom() bool {
	return o.live < o.bounds.QueueLen && o.bytes < o.bounds.QueueBytes && o.asks < o.bounds.MaxAsks
}

func (o *Outbox) signalRoom() {
	if o.room != nil && o.hasRoom() {
		close(o.room)
		o.room = nil
	}
}

// tidy drops dead messages once they outnumber the live ones, so that a lane
// without a connection does not grow while its asks time out.
func (o *Outbox) tidy() {
	if len(o.queue)-o.head > 2*o.live+64 {
		o.compact()
	}
}

// compact moves the live messages to the front of the queue.
func (o *Outbox) compact() {
	n := 0
	for _, q := range o.queue[o.head:] {
		if q.ask != 0 && o.find(q.ask) == nil {
			continue
		}
		o.queue[n] = q
		n++
	}
	clear(o.queue[n:])
	o.queue, o.head = o.queue[:n], 0
}
