package sharding

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

// call is one call on this node: made here, or received from another node to
// be run here (then answer is set). Calls are pooled; whoever takes the result
// gives it back.
type call struct {
	slot      *slot
	def       *MethodDef
	id        string
	commandID string
	request   any
	raw       []byte
	encoded   bool // raw holds the request
	decoded   bool // request holds the request
	tell      bool
	deadline  time.Time

	// state decides between an entity that begins to run the call and a caller
	// who gives up.
	state atomic.Uint32

	// Guarded by the slot's lock. A call that was made here is in at most one
	// list: the buffer, or out while somebody has it.
	list       *callList
	prev, next *call
	size       int // what it adds to its list, in bytes
	seq        uint64
	generation uint64
	epoch      uint64
	gone       bool // the caller left; nobody takes the result
	dead       bool // finished by force while somebody may still hold it: never reused

	// Where it runs.
	host  *host
	round uint32
	mark  mark
	user  Call

	answer func(payload []byte, err error)

	result
	done    chan struct{}
	replied func(payload []byte, err error)
}

// result is how a call ended: with a value, or an encoded one, or an error.
type result struct {
	value   any
	payload []byte
	remote  bool // payload is the reply
	err     *Error
}

const (
	callWaits uint32 = iota
	callRuns
	callAbandoned
)

// mark tells an entity's actor to do something other than run a call.
type mark uint8

const (
	markNone mark = iota
	markPassivate
	markStop
	// marks is the room for marks in a mailbox.
	marks = 2
)

// callPool makes and keeps calls.
type callPool struct{ p sync.Pool }

func newCallPool() *callPool {
	cp := &callPool{}
	cp.p.New = func() any {
		c := &call{done: make(chan struct{}, 1)}
		c.replied = c.onReply
		return c
	}
	return cp
}

func (cp *callPool) get() *call {
	c, _ := cp.p.Get().(*call) // New makes nothing else
	return c
}

func (cp *callPool) put(c *call) {
	if c.dead {
		return
	}
	c.slot, c.def, c.id, c.commandID = nil, nil, "", ""
	c.request, c.raw, c.encoded, c.decoded, c.tell = nil, nil, false, false, false
	c.deadline = time.Time{}
	c.state.Store(callWaits)
	c.seq, c.generation, c.epoch, c.gone = 0, 0, 0, false
	c.host, c.round, c.answer = nil, 0, nil
	c.user, c.result = Call{}, result{}
	cp.p.Put(c)
}

// fail makes an error about the call's entity.
func (c *call) fail(code Code, err error) *Error {
	return &Error{Code: code, Type: c.slot.region.def.Name, ID: c.id, Err: err}
}

// encode fills raw. It runs user code and is not called under a lock.
func (c *call) encode() *Error {
	if c.encoded {
		return nil
	}
	b, err := guardEncode(c.def.EncodeRequest, c.request)
	if err != nil {
		return c.fail(Malformed, fmt.Errorf("request of method %q: %w", c.def.Name, err))
	}
	if len(b) > MaxPayload {
		return c.fail(TooLarge, fmt.Errorf("request of method %q has %d bytes: at most %d are allowed", c.def.Name, len(b), MaxPayload))
	}
	c.raw, c.encoded = b, true
	return nil
}

// cost of keeping the call in a buffer, in bytes.
func (c *call) cost() int { return 128 + len(c.id) + len(c.commandID) + len(c.raw) }

func guardEncode(f func(any) ([]byte, error), v any) (b []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			b, err = nil, fmt.Errorf("codec panicked: %v", r)
		}
	}()
	return f(v)
}

func guardDecode(f func([]byte) (any, error), b []byte) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("codec panicked: %v", r)
		}
	}()
	return f(b)
}

// onReply takes what the owner, or the lane to it, answered.
func (c *call) onReply(payload []byte, err error) {
	s := c.slot
	if err != nil {
		s.failed(c, err)
		return
	}
	r, err := wire.DecodeShardReply(payload)
	if err != nil {
		s.finish(c, result{err: c.fail(Lost, err)})
		return
	}
	switch r.Status {
	case wire.ReplyOK:
		s.finish(c, result{payload: r.Payload, remote: true})
	case wire.ReplyError:
		e := c.fail(Code(r.Code), nil)
		switch {
		case r.Refusal != "":
			e.Err = &Refusal{Code: r.Refusal, Text: r.Text}
		case r.Text != "":
			e.Err = errors.New(r.Text)
		}
		s.finish(c, result{err: e})
	case wire.ReplyRefused:
		s.refused(c, r.Generation, r.Index)
	}
}

// failed takes an error of the lane.
func (s *slot) failed(c *call, err error) {
	code := remote.CodeLaneLost
	if e, ok := errors.AsType[*remote.Error](err); ok {
		code = e.Code
	} else if errors.Is(err, remote.ErrClosed) {
		code = remote.CodeNotSent
	}
	switch code {
	case remote.CodeNotSent, remote.CodeNoService:
		if time.Now().Before(c.deadline) {
			s.refused(c, 0, 0)
			return
		}
		s.finish(c, result{err: c.fail(Unavailable, err)})
	case remote.CodeTimeout:
		s.finish(c, result{err: c.fail(Timeout, err)})
	case remote.CodeMalformed:
		s.finish(c, result{err: c.fail(Malformed, err)})
	case remote.CodeTooLarge:
		s.finish(c, result{err: c.fail(TooLarge, err)})
	case remote.CodeHandler:
		s.finish(c, result{err: c.fail(Failed, err)})
	case remote.CodeLaneLost:
		s.finish(c, result{err: c.fail(Lost, err)})
	default:
		s.finish(c, result{err: c.fail(Lost, err)})
	}
}

// callList is a list of calls through the calls themselves.
type callList struct {
	head, tail *call
	n, bytes   int
}

func (l *callList) push(c *call) {
	c.list, c.prev, c.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = c
	} else {
		l.head = c
	}
	l.tail = c
	l.n++
	c.size = c.cost()
	l.bytes += c.size
}

func (l *callList) remove(c *call) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.tail = c.prev
	}
	c.list, c.prev, c.next = nil, nil, nil
	l.n--
	l.bytes -= c.size
}

// callContext is the ctx of one run: the shard's, with the caller's deadline.
// Its timer exists only when somebody asks for Done.
type callContext struct {
	//nolint:containedctx // it is a ctx itself; this one is its parent, the shard's
	context.Context
	deadline time.Time

	mu     sync.Mutex
	full   context.Context //nolint:containedctx // the same ctx with its timer, made when asked for
	cancel context.CancelFunc
	ended  bool
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

func (c *callContext) Done() <-chan struct{} { return c.whole().Done() }

func (c *callContext) Err() error {
	c.mu.Lock()
	full, ended := c.full, c.ended
	c.mu.Unlock()
	if full != nil {
		return full.Err()
	}
	if ended {
		return context.Canceled
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

func (c *callContext) whole() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full == nil {
		if c.deadline.IsZero() {
			c.full, c.cancel = context.WithCancel(c.Context)
		} else {
			c.full, c.cancel = context.WithDeadline(c.Context, c.deadline)
		}
		if c.ended {
			c.cancel()
		}
	}
	return c.full
}

// end is called when the run is over.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
