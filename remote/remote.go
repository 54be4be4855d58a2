package remote

import (
	"context"
	"net"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Service names the receiver of a message inside a node. Services travel as
// text, so two versions of a program can talk as long as they agree on names.
type Service string

// Class selects one of the lanes between two nodes. Messages of one class
// stay in order; a bulk transfer in one class does not delay the other.
type Class uint8

// Classes of lanes.
const (
	// Control carries sessions, the table and other small messages that must
	// not wait behind user traffic.
	Control Class = iota
	// Data carries messages to entities.
	Data
)

// Message is what arrives at a [Handler].
type Message struct {
	From  member.Node
	Class Class
	// Payload belongs to the handler from here on.
	Payload []byte
	// Deadline of an ask on this node's clock, zero for a tell.
	Deadline time.Time
	// Reply answers an ask, from any goroutine, once; later calls do nothing.
	// It is nil for a tell. It does not block for long: a reply that finds no
	// room within the bounds is lost and the asker's deadline decides.
	// An error reaches the asker as *Error with the code of err when err is
	// (or wraps) *Error, else CodeHandler.
	Reply func(payload []byte, err error)
}

// Handler receives the messages for a service, one at a time per sender and
// class, in the order they were posted. It must not block: whatever takes long
// goes to another goroutine, and the lane waits behind it until then.
type Handler func(m Message)

// Post is one message to send.
type Post struct {
	Service Service
	Payload []byte
	// Deadline of the ask. Required when Done is set.
	Deadline time.Time
	// Done makes the message an ask: it is called exactly once, from a goroutine
	// of the lane, in the order in which replies arrived, with the reply or an
	// error. It must not block.
	Done func(payload []byte, err error)
}

// Lane is an ordered channel to one incarnation of a node. It connects on
// first use, and again after a broken connection for as long as that
// incarnation may be alive; asks that were on the wire fail with
// CodeLaneLost, posts still queued wait for the next connection.
type Lane interface {
	// To returns the node this lane reaches.
	To() member.Node
	// Post queues a message and never blocks. ErrQueueFull: see WaitRoom.
	// ErrClosed: the lane is closed or the incarnation is known to be dead;
	// the message was not sent. When Post returns an error Done is not called.
	Post(p Post) error
	// WaitRoom blocks until the queue has room, ctx ends or the lane closes.
	WaitRoom(ctx context.Context) error
}

// Evidence is what a probe of an address found out about an incarnation.
type Evidence uint8

// Kinds of evidence.
const (
	// Unknown: no answer in time, or a failure that proves nothing.
	Unknown Evidence = iota
	// Alive: the incarnation answered.
	Alive
	// Refused: the host answered that nothing listens at the address.
	Refused
	// Replaced: another incarnation answers at the address.
	Replaced
)

// Dead reports whether the evidence proves the incarnation dead.
func (e Evidence) Dead() bool { return e == Refused || e == Replaced }

// String returns the lower-case name of the evidence.
func (e Evidence) String() string {
	switch e {
	case Alive:
		return "alive"
	case Refused:
		return "refused"
	case Replaced:
		return "replaced"
	case Unknown:
	}
	return "unknown"
}

// Transport is a node's end of all lanes. [Endpoint] is the gRPC one;
// remotetest has one in memory whose network can be made to lie.
type Transport interface {
	// Self returns this node.
	Self() member.Node
	// Handle sets the receiver of a service. It must be called before Run.
	Handle(s Service, h Handler)
	// Lane returns the lane of a class to a node, the same one every time.
	Lane(to member.Node, c Class) Lane
	// Ask posts on the control lane and waits for the reply until ctx ends.
	Ask(ctx context.Context, to member.Node, s Service, payload []byte) ([]byte, error)
	// Probe dials the node's address afresh and says what answered there.
	Probe(ctx context.Context, to member.Node) Evidence
	// Forget closes the lanes to an incarnation that is gone for good; their
	// queued posts fail with ErrClosed.
	Forget(id member.NodeID)
	// OnLost sets the function that is called, from a goroutine of its own,
	// whenever an established connection with a node breaks, whichever side
	// opened it. It must be called before Run.
	OnLost(f func(peer member.Node))
	// DialStream opens a raw byte stream to a node for the given purpose; the
	// handshake fails unless exactly this incarnation answers.
	DialStream(ctx context.Context, to member.Node, purpose string) (net.Conn, error)
	// AcceptStreams returns the listener for raw streams of a purpose. It must
	// be called before Run.
	AcceptStreams(purpose string) net.Listener
	// Run serves until ctx ends, then closes everything and returns after the
	// last goroutine has ended. The listener closes last.
	Run(ctx context.Context) error
}
