// Package cluster keeps the replicated table of members and shard owners, and
// this node's right to execute.
//
//	          renew every 500 ms            confirm by a commit
//	member ───────────────────────> leader ────────────────────> voters
//	  ▲                               │   │
//	  │   pushes committed entries    │   │ Expire, Down, Place, …
//	  └───────────────────────────────┘   └──> raft log (in memory)
//
// One hashicorp/raft group is the authority. Its log lives in memory: every
// process start is a new member, a crash is the permanent loss of a voter, and
// the leader replaces voters as members come and go. Members that do not vote
// follow the leader's pushes, and so do voters, because a push is up to 100 ms
// earlier than raft's own news of a commit.
//
// # Sessions
//
// A node may execute entities only while its session is valid: TTL counted on
// its own monotonic clock from the moment it sent the renewal. The leader
// confirms renewals by a commit that starts after they arrived; it never asks
// raft whether it leads, because after a pause raft may say yes for a while.
// It declares a session over ([table.Expire]) TTL x 1.04 after the last renewal
// arrived, or after the session floor: the latest moment at which an earlier
// leader can have confirmed anything, learnt from a majority of the voters. This
// needs clocks whose rates are within 2 %, and nothing about their times. The
// argument, for any partition, delay and pause: the node's count started before
// the leader's and is shorter by more than the rates can make up.
//
// # Death
//
// When a connection with a member breaks, the member is probed: a refused
// connection, or another incarnation at the address, proves it dead, and it is
// downed at once. If it led, the voters stand for election by rank instead of
// waiting for a timeout. Anything else is left to the session.
//
// # Generations
//
// A generation is one life of a cluster. Form claims the next one by
// compare-and-set on the arbiter row, after it has made sure that the voters
// registered there cannot have a quorum any more; nodes of different
// generations do not talk. Every voter change is registered on the row first.
//
// # Guarantees
//
//  1. At most one node holds a shard and a valid session at any instant (I1):
//     TestAPausedOwnerNeverOverlapsItsSuccessor.
//  2. A killed member's shards move without waiting for its session:
//     TestKilledMembersShardsMoveAtOnce, TestKilledLeaderIsReplacedAtOnce.
//  3. A cut-off member stops by itself before its shards move:
//     TestCutOffMemberLosesItsSession.
//  4. A node without a session for LostAfter gives up: TestNodeWithoutQuorumGivesUp.
//  5. One of many nodes that form at once gets the generation:
//     TestOneOfManyFormersWins.
//
// # Concurrency
//
// All methods are safe for concurrent use. Run owns every goroutine.
package cluster
