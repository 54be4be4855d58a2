// Package member holds the values that describe a cluster's membership: the
// identity of a node, a member and its status, the legal transitions between
// statuses, and the immutable view that the rest of the system reads.
//
// The package is pure: it starts no goroutine and reads no clock.
//
//	Joining ──> Up ──> Leaving ──> Exiting ──> Removed
//	   │         │        │           │           ▲
//	   └─────────┴────────┴───────────┴──> Down ──┘
//
// A node is one process. Every process start draws a new [NodeID], so a
// restarted node is a new member even at the same address: nothing that was
// promised to, or by, the earlier process can be confused with the new one.
package member
