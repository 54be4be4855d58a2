package sbr

import (
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Event is something that the resolver is told.
//
//sumtype:decl
type Event interface{ event() }

// Events of a [Resolver].
type (
	// MemberChanged: a member is new or has another status than before.
	MemberChanged struct{ Member Member }
	// MemberRemoved: a member is gone from the table.
	MemberRemoved struct{ ID member.NodeID }
	// BecameUnreachable: somebody on this side cannot reach the member any more.
	BecameUnreachable struct{ Member Member }
	// BecameReachable: everybody on this side reaches the member again.
	BecameReachable struct{ Member Member }
	// ObservationsChanged replaces all observations.
	ObservationsChanged struct{ Observations []Observation }
	// SeenChanged replaces the set of members known to hold the current view.
	SeenChanged struct{ Seen []member.NodeID }
	// LeaderChanged: the node takes ID for the leader of its side, "" for none.
	LeaderChanged struct{ ID member.NodeID }
	// CenterUnreachable: no member of another center can be reached. Nobody is
	// downed for it.
	CenterUnreachable struct{ Center string }
	// ShutOut: another node refuses to talk to this one for good.
	ShutOut struct{ By member.NodeID }
	// LeaseResult answers the [AcquireLease] with the same Attempt.
	LeaseResult struct {
		Attempt uint64
		Held    bool
	}
	// LeaseLost: a lease that was held is held no more.
	LeaseLost struct{}
	// ReleaseResult answers [ReleaseLease].
	ReleaseResult struct{ Released bool }
	// Tick: time has passed. One a second is enough; an earlier one is due when
	// a [Wait] says so.
	Tick struct{}
)

func (MemberChanged) event()       {}
func (MemberRemoved) event()       {}
func (BecameUnreachable) event()   {}
func (BecameReachable) event()     {}
func (ObservationsChanged) event() {}
func (SeenChanged) event()         {}
func (LeaderChanged) event()       {}
func (CenterUnreachable) event()   {}
func (ShutOut) event()             {}
func (LeaseResult) event()         {}
func (LeaseLost) event()           {}
func (ReleaseResult) event()       {}
func (Tick) event()                {}

// Effect is something that the resolver wants done.
//
//sumtype:decl
type Effect interface{ effect() }

// Effects of a [Resolver].
type (
	// Down: down Decision.Down, in that order. Downing twice does no harm; the
	// resolver repeats itself while members stay.
	Down struct{ Decision Decision }
	// AcquireLease: try to acquire the lease and answer with a [LeaseResult].
	AcquireLease struct{ Attempt uint64 }
	// ReleaseLease: give the lease back and answer with a [ReleaseResult].
	ReleaseLease struct{}
	// Wait: send a [Tick] at Until, or as soon after as possible.
	Wait struct{ Until time.Time }
	// Notice: something that people may want to know. Text is one line.
	Notice struct {
		Kind NoticeKind
		Text string
	}
)

func (Down) effect()         {}
func (AcquireLease) effect() {}
func (ReleaseLease) effect() {}
func (Wait) effect()         {}
func (Notice) effect()       {}

// NoticeKind says what a [Notice] is about.
type NoticeKind uint8

const (
	// Waiting: members are unreachable, a decision is due after StableAfter.
	Waiting NoticeKind = iota + 1
	// Changed: the unreachable members changed, so the wait began again.
	Changed
	// Healed: all members are reachable again.
	Healed
	// TooManyMembers: the cluster outgrew its static quorum.
	TooManyMembers
	// OtherCenter: another center cannot be reached.
	OtherCenter
	// LeaseWait: a decision waits for the lease.
	LeaseWait
)
