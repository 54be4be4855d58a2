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
//  2. The same under keep-majority when two sides differ by one member that only
//     one of them saw come up or exit, unless that is a newcomer with the lowest
//     address. (TestOneChangeInFlightLeavesAtMostOneMajority)
//  3. Of all sides of a cluster on raft at most one continues by its own
//     judgement; where one may, no other may force. Without a store at most one
//     goes on at all. (TestAtMostOneSideContinuesByItsOwnJudgement)
//  4. Without the members of a cover, every pair that is left can talk; no
//     smaller set does it. (TestNoCoverIsSmaller)
//  5. The same view gives the same decision, in whatever order its members and
//     observations come. (TestDecisionsDoNotDependOnOrder)
//  6. Decisions agree with the behaviour of Akka's resolver row by row, those of
//     one node and those of whole clusters. (TestStrategiesDecideAsTheRowsSay,
//     TestTheResolverActsAsTheRowsSay, TestClustersEndAsTheRowsSay,
//     TestCutLinksEndAsTheRowsSay)
//  7. A lease is asked for once per decision, answered or denied within
//     AcquireTimeout, and given back. (TestALeaseThatIsNotAnsweredCountsAsDenied,
//     TestTheLeaseIsKeptUntilTheDownedAreGone)
//
// # Not guaranteed
//
// By members alone, strategies protect against few changes in flight. With
// static-quorum two sides that see different members can both have enough of
// them. With keep-majority two tied sides both survive when one saw a newcomer
// come up that has the lowest address of all. Two failures within StableAfter can
// end all sides, as the report of a member that is unreachable itself looks like
// a broken link. lease-majority is as good as its lease. Judge depends on none of
// this, since it counts voters that are registered before they vote, but it
// believes in certificates of death. Pages on it: docs/explanation/split-brain.md,
// docs/adr/0003-sbr-rows.md, and the scenarios in testdata.
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
