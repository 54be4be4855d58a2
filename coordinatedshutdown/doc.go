// Package coordinatedshutdown stops a process in phases, once, within one deadline.
//
//	before-service-unbind             60 s   unready, evacuate shards, serve and proxy on
//	service-unbind                     2 s   no new connections
//	service-requests-done             10 s   requests in flight
//	service-stop                       3 s
//	before-cluster-shutdown            3 s
//	cluster-sharding-shutdown-region  10 s   regions stop, what is left is handed off
//	cluster-leave                      3 s
//	cluster-exiting                    3 s
//	cluster-exiting-done               2 s
//	cluster-shutdown                   3 s
//	before-actor-system-terminate      3 s   stores and clients
//	actor-system-terminate             3 s
//	                                 ─────
//	                                 105 s   of a deadline of 110 s, of the 120 s of Fargate
//
// Names and order are those that users of Akka know; the timeouts are not, as a
// phase that is cut at 5 s cannot wait for a load balancer. Evacuation and the wait
// for the load balancer share the first phase, so that they cost the longer of the
// two and not the sum. Config.Phases changes phases and adds some, see [Merge].
//
//	            AddTask            AddTask, for later phases
//	               │                  │
//	New ─▶ [ phases, tasks ] ─Run─▶ phase ─▶ phase ─▶ … ─▶ ended: one log line, Report
//	                                  │ tasks side by side,
//	                                  │ each with its own deadline
//	                                  ▼
//	                  failed, overdue: on record, and on (Abort: the run ends)
//
// The phase graph, its order and its budget are pure functions, in phases.go.
//
// # Guarantees
//
//  1. What cannot fit is refused when the process starts, and not found out when it
//     stops: phases longer than the deadline together, a task longer than its phase.
//     TestABudgetErrorNamesPhasesAndFigures,
//     TestTasksThatCannotRunAreRefusedWhenTheyAreAdded
//  2. A phase begins after the one before it has ended, and ends by its timeout,
//     whatever its tasks do. TestAHungTaskCostsItsPhaseOnly
//  3. A run ends within Config.Deadline, and says what each phase took of it.
//     TestTheDeadlineAndTheCtxCutTheRun,
//     TestPhasesRunInOrderAndTheirTasksSideBySide
//  4. There is one run, and all callers get its result.
//     TestItRunsOnceAndAllCallersGetTheSameResult
//  5. A task that heeds its ctx is never counted as hung: its ctx ends 5 % of the
//     phase, at most 250 ms, before the phase does.
//     TestATaskEndsALittleBeforeItsPhase, TestAHungTaskCostsItsPhaseOnly
//  6. A panic in a task or hook is an error like any other.
//     TestFailuresArePutOnRecordAndTheRunGoesOn, TestPanickingHooksDoNotStopTheRun
//
// Not guaranteed: that a task which does not heed its ctx ever ends. It is left to
// itself when its phase ends, and named in the log and in [Report.Hung]; that is the
// only goroutine which may outlive Run.
//
// # Exit codes
//
// The process ends with [Reason.ExitCode] of the reason, or at least not with 0 when
// Run has returned an error. Nothing here ends the process but [Shutdown.Signals],
// and that by the function main gives it.
//
//	requested            0   the program asked for it
//	terminated           0   SIGTERM
//	interrupted          0   SIGINT
//	cluster-leaving      0   somebody else told this node to leave
//	cluster-downing     10   downed, or decided to go
//	quorum-lost         11   the cluster may not go on
//	join-failed         12   no cluster within the time
//	incompatible        13   settings or version differ from the cluster's
//	bind-failed         14   an address could not be listened on
//	store-lost          15   the durable store is out of reach
//	internal            16   a defect
//	                   130   second SIGINT
//
// # Concurrency
//
// All methods are safe for concurrent use. Tasks of a phase run in a goroutine each;
// everything else runs in that of the first caller of Run.
package coordinatedshutdown
