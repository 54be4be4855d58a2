// Package sqlite is a journal in one SQLite file: the embedded default. It is
// pure Go, needs no server, and several processes of one machine may share the
// file. One disk is no quorum: what the disk loses is lost.
//
//	callers --> queue --> writer goroutine ---- gate (flock) ----> file
//	                      a group = one transaction, one fsync      ^
//	callers --> read-only connections ------------------------------'
//
// Guarantees beyond those of package journal, with the test that proves each:
//
//  1. What was acknowledged survives kill -9 of any process at any moment, and
//     no stream has a gap afterwards (TestAcknowledgedAppendsSurviveKill).
//  2. A refused append does not touch the others of its group
//     (journaltest, TestARefusedAppendLeavesItsGroupAlone).
//  3. A file that is not a journal is refused and left as it is
//     (TestOpenRefusesWhatIsNotAJournal).
//  4. Command records are dropped after the retention in small batches
//     (TestOldCommandRecordsArePruned).
//
// Durability: every transaction is synced (write-ahead log, synchronous=FULL)
// before its callers get their results. The fence is read inside the same
// IMMEDIATE transaction, which excludes every other writer of the file.
//
// Failure handling. A full disk, a lock that outlasts BusyTimeout and a failed
// statement give journal.ErrUnavailable: the transaction was rolled back. A
// COMMIT that fails with an I/O error gives journal.ErrUnknown for its whole
// group, and the connection is replaced.
//
// Concurrency. One goroutine writes; it is started by Open and ended by Close.
// A second one exists while the gate is held by another process; it ends when
// that process lets go.
package sqlite
