package member

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// NodeID identifies one process start (an incarnation): 16 lower-case
// hexadecimal digits drawn at random. It is never reused.
type NodeID string

// Node says which process to reach and where: an identity and its address.
type Node struct {
	ID NodeID
	// Addr is the host:port of the node's cluster listener.
	Addr string
}

// String returns "id@addr".
func (n Node) String() string { return string(n.ID) + "@" + n.Addr }

// Status is the place of a member in its life.
type Status uint8

// Statuses in the order of a member's life. The numbers travel on the wire:
// add only at the end.
const (
	// Joining members have been accepted but hold no session yet.
	Joining Status = 1 + iota
	// Up members may own shards.
	Up
	// Leaving members hand their shards over and go on forwarding requests.
	Leaving
	// Exiting members own no shard any more and give up their vote.
	Exiting
	// Down members were declared dead or told to go; their shards move.
	Down
	// Removed members are gone from the table.
	Removed
)

// String returns the lower-case name of the status.
func (s Status) String() string {
	switch s {
	case Joining:
		return "joining"
	case Up:
		return "up"
	case Leaving:
		return "leaving"
	case Exiting:
		return "exiting"
	case Down:
		return "down"
	case Removed:
		return "removed"
	}
	return "status(" + strconv.Itoa(int(s)) + ")"
}

// CanBecome reports whether a member may go from status s to next.
func (s Status) CanBecome(next Status) bool {
	switch s {
	case Joining:
		return next == Up || next == Leaving || next == Down || next == Removed
	case Up:
		return next == Leaving || next == Down || next == Removed
	case Leaving:
		return next == Exiting || next == Down || next == Removed
	case Exiting:
		return next == Removed || next == Down
	case Down:
		return next == Removed
	case Removed:
		return false
	}
	return false
}

// Member is one node as the replicated table knows it.
type Member struct {
	Node
	Status Status
	// Zone is the failure domain the node runs in, "" when unknown.
	Zone string
	// Roles the node carries, sorted.
	Roles []string
	// AppVersion orders deployments: newer versions are preferred as owners.
	AppVersion string
	// JoinedAt is the table index at which the member was accepted. It orders
	// members by age.
	JoinedAt uint64
}

// HasRole reports whether the member carries role; every member carries "".
func (m Member) HasRole(role string) bool {
	return role == "" || slices.Contains(m.Roles, role)
}

// View is an immutable snapshot of the membership.
type View struct {
	// Generation of the cluster, 0 before the node is in one.
	Generation uint64
	// Index of the table this view was taken from.
	Index uint64
	// Leader is the node that this node believes leads, "" when unknown.
	Leader NodeID
	// Members in address order.
	Members []Member
}

// Find returns the member with the given id.
func (v *View) Find(id NodeID) (Member, bool) {
	for _, m := range v.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// CompareAge orders members oldest first: by the index of their acceptance,
// then by address.
func CompareAge(a, b Member) int {
	return cmp.Or(cmp.Compare(a.JoinedAt, b.JoinedAt), CompareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID))
}

// CompareAddr orders host:port addresses: IP addresses numerically and
// unsigned, before names; names by their text; then ports by number.
func CompareAddr(a, b string) int {
	ha, pa := splitAddr(a)
	hb, pb := splitAddr(b)
	ia, ea := netip.ParseAddr(ha)
	ib, eb := netip.ParseAddr(hb)
	switch {
	case ea == nil && eb == nil:
		return cmp.Or(ia.Compare(ib), cmp.Compare(pa, pb))
	case ea == nil:
		return -1
	case eb == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(ha, hb), cmp.Compare(pa, pb))
}

func splitAddr(addr string) (host string, port int) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr, 0
	}
	port, err := strconv.Atoi(addr[i+1:])
	if err != nil {
		return addr, 0
	}
	return strings.Trim(addr[:i], "[]"), port
}

// TransitionError reports a status change that the life cycle does not allow.
type TransitionError struct {
	ID       NodeID
	From, To Status
}

// Error implements error.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("member %s cannot go from %s to %s", e.ID, e.From, e.To)
}
