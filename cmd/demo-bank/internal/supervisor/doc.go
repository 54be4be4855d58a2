// Package supervisor runs nodes as processes of this machine, replaces those
// that die, and stops them all: what a task scheduler does, for development.
//
//	          ┌──────────── exits ─────────────┐
//	          ▼                                │
//	start ─▶ running ── ctx ends: SIGTERM ─▶ stopping ── StopWithin: SIGKILL ─▶ gone
//	  ▲       │ exits
//	  └───────┴─ after ReplaceAfter
//
// Guarantees, with the test that proves each:
//
//  1. A node that exits is started again after ReplaceAfter, unless that is
//     negative (TestADeadNodeIsReplaced, TestWithoutReplacementTheLastExitEndsTheRun).
//  2. When Run's context ends every node gets SIGTERM at once, and SIGKILL after
//     StopWithin or Kill (TestStopIsGraceful, TestAStubbornNodeIsKilled, TestKillDoesNotWait).
//  3. Run returns after the last process is gone. On Linux the processes die with this
//     one, even if it is killed (TestNodesDieWithTheirParent).
//  4. Exit code 2, a refused configuration, is not tried again: Run stops the others
//     and returns an error (TestARefusedConfigurationEndsTheRun).
//  5. Each line of output is written whole, behind the name of its node
//     (TestOutputIsPrefixedLineByLine).
package supervisor
