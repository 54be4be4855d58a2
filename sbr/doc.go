// Package sbr decides what happens to the sides of a cluster that cannot reach
// one another: the split brain resolver. It is pure: it starts nothing, reads no
// clock and does no I/O, and every decision carries a [Reason] that names both
// sides and the rule.
//
// # Model
//
// Three questions, three functions:
//
//	               who cannot reach whom
//	                        │
//	       ┌────────────────┼──────────────────────┐
//	       ▼                ▼                      ▼
//	Decide(strategy,   Judge(strategy,        Cover(view,
//	       view)             side)                 keep)
//	whom does a side   may a side of a        who goes when members
//	down, all by       cluster on raft        reach the leader, but
//	itself?            go on?                 not one another?
//	       │                │                      │
//	       ▼                ▼                      ▼
//	   Decision         Judgement              Decision
//
// [Decide] is the classical resolver, for sides that have nothing but their own
// view. [Judge] is the one for Holdfast's clusters, where a quorum of voters
// already makes one side safe: the strategy then only says which side is
// preferred, and whether a side without quorum may claim the next generation.
// [Cover] is for links that are broken within the side that goes on.
//
// A [Strategy] is one of [KeepMajority], [StaticQuorum], [KeepOldest],
// [DownAll] and [LeaseMajority].
//
// A [Resolver] decides when: it is fed with what one node learns, and asks
// [Decide] once the view has stayed the same for a while.
//
//	                  a member became unreachable
//	┌──────┐ ──────────────────────────────────────▶ ┌─────────┐ ◀─┐ the view changed:
//	│ calm │                                         │ waiting │ ──┘ wait again
//	└──────┘ ◀────────────────────────────────────── └─────────┘
//	    ▲               all healed                    │       │ changed for longer than
//	    │                            StableAfter over │       │ StableAfter + DownAllWhenUnstable
//	    │       ┌──────────┐                          ▼       ▼
//	    ├────── │ the lease│ ◀──── lease-majority ─ decide   all go,
//	    │       └──────────┘                          │      on every node
//	    └─────────────────────────────────────────────┘
//	                 whom it means: Down
//
// Members count by status: Joining and weakly-up ones are not counted but go
// with their side; Leaving ones are counted; Exiting and Down ones are neither
// counted nor downed.
//
// # Guarantees
//
//  1. In a clean partition that all sides see the same way, at most one side
//     survives, whatever the strategy. (TestAtMostOneSideSurvivesAnyPartition)
//  2. The same when one member was seen coming up, or gone, by one side only,
//     under keep-majority. (TestOneChangeInFlightLeavesAtMostOneMajority)
//  3. Of all sides of a cluster on raft at most one continues by its own
//     judgement; where one may, no other may force. Without a store at most one
//     goes on at all. (TestAtMostOneSideContinuesByItsOwnJudgement)
//  4. Without the members of a cover, every pair that is left can talk; no
//     smaller set does it. (TestNoCoverIsSmaller)
//  5. The same view gives the same decision, in whatever order its members and
//     observations come. (TestDecisionsDoNotDependOnOrder)
//  6. Decisions agree with the behaviour of Akka's resolver row by row.
//     (TestStrategiesDecideAsTheRowsSay, TestTheResolverActsAsTheRowsSay)
//
// # Not guaranteed
//
// Strategies other than keep-majority protect against fewer changes in flight:
// with static-quorum, two sides that see different members can both find the
// cluster small enough and themselves large enough once more than
// 2 x QuorumSize - 1 members exist. lease-majority is as good as its lease.
// DownIfAlone is decided by counting, so it needs both sides to count alike. No
// strategy survives a partition that comes with a view so old that the sides
// share no members. Judge does not depend on any of this: it counts voters that
// are registered before they vote.
//
// # Failure handling
//
// Nothing fails: [NewResolver], [Parse] and Validate report settings that cannot
// work, all at once. A view that makes no sense (observations about strangers,
// members listed twice) is read as far as it does.
//
// # Concurrency
//
// Functions share nothing. A Resolver belongs to one goroutine.
package sbr
