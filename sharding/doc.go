// Package sharding spreads entities over the cluster and routes calls to them.
//
// # Model
//
// An entity type has a fixed number of shards; the shard of an entity is a hash
// of its id ([ShardOf]). The replicated table says which node owns a shard and
// at which epoch. [Regions] is a node's share of all types: each shard has a
// slot with a sending side (the route) and, on the owner, a hosting side.
//
//	caller ── Method.Ask ──> slot ──┬── own shard ──────> entity (an actor)
//	                                ├── another's ─lane─> slot ──> entity
//	                                └── no owner, moving, refused ──> buffer
//
// Handing shard s over from A to B, as the table shows it:
//
//	Moving{A→B}    every region buffers s and posts a barrier to A, behind
//	               everything it sent before
//	               A has all barriers, or waited 3 s: takes no more calls, lets
//	               entities work off what they hold (5 s, then they are cut
//	               after their current call), stops them, tells the leader
//	Unassigned     whatever A gave back is in its old place in the buffers
//	Running{B}     every region sends its buffer to B in order, then opens
//
// A call carries the generation and epoch its sender believes in. The owner
// runs it only under exactly these: what is older is given back with the index
// the sender's table should reach first; what is newer waits for the owner's
// own table. Nothing is sent to a new owner before everything sent to the
// earlier one has come back, failed, or is written off as lost.
//
// An owner that gives a call back without losing the shard, for want of a
// session, takes no more calls from that node until its probe arrives: the node
// posts it after it has heard of the refusal, so behind everything that would
// have overtaken the refused call.
//
// # Guarantees
//
//  1. An entity runs only while its node holds a session and the table gives it
//     the shard at that epoch; both are checked before a call and before its
//     reply leaves (I1). TestWithoutASessionNothingRunsAndTheOrderIsKept,
//     TestAnOwnerWhoseShardIsTakenAwayGivesQueuedCallsBack
//  2. Every Ask ends with a reply or an *Error that says whether the call may
//     have run (I4). TestACommandWithAnIDSurvivesTheCrashOfItsOwner,
//     TestAFullBufferIsAnErrorAndNothingIsLost
//  3. Calls of one goroutine to one entity run in the order in which they were
//     made, across handoff (I5). TestManySendersKeepTheirOrderAcrossHandoffs,
//     TestAStaleSenderIsRefusedAndSendsAgainInOrder,
//     TestACallThatWasRefusedIsNotOvertakenByOneSentBehindIt,
//     TestASessionThatBlinksDoesNotReorderWhatIsQueued
//  4. Every transient state ends within its deadline (I8).
//     TestAMoveWaitsForEveryMembersBarrierButNotForever,
//     TestAnEntityThatDoesNotReturnIsAbandonedWithinTheDeadlines
//  5. No call is lost between passivation and the next call.
//     TestNoCallIsLostBetweenPassivationAndTheNextCall
//  6. Everything that waits is bounded, and a full bound is an error to the
//     caller. TestABufferIsBoundInBytesAndOverTheNode,
//     TestAFullMailboxIsOverloaded
//
// TestWhateverHappensCallsRunInOrderAndErrorsTellTheTruth checks 1, 2, 3 and 6
// under random moves, expiries, session losses, late tables and cut paths.
//
// Not guaranteed: that a Tell arrives. One that is lost, refused by the entity
// or comes back too late to keep its place is counted and reported to
// Events.TellLost. A call that waited in the mailbox of an entity whose code
// did not return by the deadlines of its handoff is reported as one that may
// have run, although it has not.
//
// # Failures
//
// User code that panics or fails costs its entity its memory, nothing else. A
// node that loses its session gives calls back; their senders keep them and ask
// until it takes them, or another owner appears, or their ctx ends. When an
// owner vanishes, calls that were with it end as Lost a quarter of a second
// after the table took the shard from it; those with a [CommandID] are sent
// again to the new owner.
//
// # Concurrency
//
// One lock per slot guards its route and its entities' map; calls are queued
// and posted under it, which is what keeps them in order. It is never held
// while user code runs or while anything waits. TableObserver's methods close
// gates under that lock and post barriers; everything else is done by the steer
// goroutine of Run, which advances slots when the table, a reply or a deadline
// calls for it. Entities run on actors, one goroutine at a time.
package sharding
