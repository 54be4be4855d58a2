// Package chaos kills and stops the nodes of a running demo-bank while clients
// put money into its accounts, and then checks that the accounts tell one
// history that contains every deposit.
//
//	16 clients ──▶ front door ──▶ node 1  node 2  node 3     real processes
//	    │                            ▲       ▲       ▲
//	    │ record                     └───────┴───────┴── SIGKILL, SIGTERM, SIGINT
//	    ▼
//	 History ──▶ Check ──▶ violations
//
// The test (TestTheBankSurvives) builds cmd/demo-bank and goes through these
// phases, with clients all the time:
//
//  1. Nodes are killed, a member and the leader in turn. Each time a few accounts of
//     the killed node are asked at once and until they answer: that is the
//     recovery time in the report.
//  2. Nodes are paused (SIGSTOP), a member and the leader, until the others have
//     taken their shards, and go on then.
//  3. Nodes are told to leave (SIGTERM). No request may fail then.
//  4. All nodes are killed at once.
//  5. All is stopped (SIGINT) and started again on the same data.
//
// Between faults it waits until every node is a ready member with a vote and the
// shards are even: the loss of one node is covered, that of two at once is not.
//
// A client repeats a deposit under its key until it is acknowledged, for at most
// 20 s, and now and then repeats one that was acknowledged.
//
// # What [History.Check] finds
//
//   - an acknowledged deposit that is lost, or any deposit that was executed twice
//     (TestCheckFindsWhatIsWrong);
//   - a history that forks: two deposits with one sequence number, or a balance
//     that does not follow from the one before;
//   - a repeat that was answered differently than the first time;
//   - an order that contradicts time: a read or a deposit that does not see what
//     was acknowledged before it began.
//
// It cannot tell a deposit that was never acknowledged and did not run from one
// that was lost: both are legal.
//
// # Settings
//
// Environment variables of the test:
//
//	HOLDFAST_CHAOS_KILLS   how many nodes are killed in phase 1; default 6
//	HOLDFAST_CHAOS_REPORT  a file for the report; the output of all nodes goes to
//	                       the same name with .log at the end
package chaos
