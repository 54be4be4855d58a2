// Package placement is the shard table as a replicated state machine, and the
// coordinator that decides what should happen to it.
//
//	              Assign                 BeginMove
//	Unassigned ───────────> Running ───────────────────> Moving
//	     ▲                     │                            │
//	     └─── owner expired ───┴──────── owner expired ─────┤
//	     ▲                                                  │ Release (the old
//	     └──────────────────────────────────────────────────┘  owner has stopped)
//
// The epoch of a shard is the table index of the command that assigned it, so
// it only grows. A shard is taken from an owner only when that owner released
// it or its session is over: this is the rule that keeps at most one owner (I1).
//
// The package is pure: it starts no goroutine and reads no clock.
package placement
