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
// [Plan] is the coordinator: it derives from the table and the members what
// should happen next. It keeps no memory, so a new leader goes on where the
// last one stopped; the leader calls it after each change and applies what it
// decides as one command.
//
//	table, members ──> Plan ──> ops, reasons ──> raft ──> Table.Apply ──> table
//	      ▲                                                                 │
//	      └─────────────────────────────────────────────────────────────────┘
//
// # Guarantees
//
//  1. Whatever ops arrive in whatever order, no shard has two owners at one
//     epoch, and none changes its owner without having been released or dropped
//     (TestAnyOpsKeepTheInvariants).
//  2. While members stay, plans settle: all shards run, eligible members differ
//     by at most one, and no shard moved twice (TestPlansSettleAndNoShardMovesTwice).
//  3. While members come and go, guarantee 1 holds, and afterwards 2
//     (TestPlansKeepInvariantsWhileMembersComeAndGo).
//  4. The same input gives the same decision, in any order of members
//     (TestPlansDoNotDependOnTheOrderOfMembers).
//
// Not guaranteed: that a move ends. Its deadline is the owner's: an owner that
// holds its session must drain within its own bound (package sharding), and one
// that does not loses its shards by [Table.Drop].
//
// The package is pure: it starts no goroutine and reads no clock.
package placement
