// Package sim runs whole clusters of the real shells (cluster with
// hashicorp/raft, sharding, persistence) in one testing/synctest bubble, hurts
// them in every way it can, and checks the invariants all the time.
//
//	callers ──> regions ──> entities ──> journal (one store, slow, away, in doubt)
//	              │   ▲         │             ▲
//	              ▼   │         ▼             │
//	           cluster ──── oracle ───────────┘
//	              │
//	           network that cuts, delays, loses      supervisor: starts, kills,
//	           in one or both directions             pauses, stops in order
//
// One seed decides the number of nodes, the timing profile, the faults, their
// times and victims, and what the callers call. After the last fault everything
// heals and must be live again; then the journal must agree with what the
// callers saw.
//
// # Checked
//
//	I1  Two nodes never have open gates for one shard, at every execution and
//	    every 10 ms; executions of a shard never go back in (generation, epoch);
//	    nothing executes behind a closed gate.
//	I2  Histories are gapless; tokens of accepted writes never go back; a write of
//	    an activation is never accepted after a later activation has read the
//	    history.
//	I3  Every acknowledged call is in the journal at the place that it was told,
//	    and every reply includes what was acknowledged before its call began.
//	I4  Every call ends by its deadline; one that says it has not run is not in
//	    the journal.
//	I5  Calls of one caller through one node to one account are in the journal in
//	    their order.
//	I6  Sessions of two generations are never valid together.
//	I7  After the last fault all processes are members of one cluster and serve
//	    every shard within 90 s, whatever happened.
//	I9  A command is in the journal once, and repeats get the recorded reply.
//	I10 A process asked to leave ends within 110 s.
//
// Besides, members change status only as member.Status.CanBecome allows, and
// tables at the same generation and index are the same everywhere.
//
// # Limits
//
// All nodes of a bubble share one clock, so clock rates cannot differ, and a
// paused process's own goroutines go on: it is cut off the network, and its
// entities and its calls to the store stand still. Its timers do not.
//
// hashicorp/raft and the scheduler draw randomness that no seed reaches: a
// replay has the same nodes, faults and callers, but election timeouts and
// interleavings differ, also with GOMAXPROCS=1 (four seeds, three replays each
// way: no two alike). Replay several times:
//
//	go test ./internal/sim -run TestWhateverHappensThePromisesHold -seed N -count 10
//
// Without quorum, voters that neither answer nor refuse are given up after
// cluster.Timing.Patience (ADR 6). If they live behind a cut that long, two
// generations run; the faults drawn here end sooner unless several follow one
// another, and such a history fails as it should.
package sim
