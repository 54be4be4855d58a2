// Package journal is the port to durable stores: fenced appends, replay,
// snapshots, recorded replies, and the arbiter row.
//
// Model. A stream is the history of one entity: events numbered 1, 2, 3, … A
// stream belongs to a shard. Before a node appends to any stream of a shard it
// claims the shard and gets a [Token]; a claim with a newer (generation, epoch)
// than the last one, or with the same (a second activation), succeeds and
// makes every earlier token stale. An append is accepted only if its token is
// the current one of its shard and its expected sequence number is the last of
// its stream, both compared in the store's own transaction.
//
// Guarantees, each proved for every store by the test of journaltest named:
//
//  1. A stream has no gap and no fork, I2 ("an append at the wrong place
//     conflicts", "concurrent appends to one place have one winner").
//  2. After Claim returned, no append with an older token is accepted, ever
//     ("a claim races with appends and wins for good").
//  3. An append that returned no error is durable, I3 (Crash, and "closing while
//     appending loses nothing acknowledged").
//  4. A command id is recorded at most once per stream for as long as the store
//     keeps it; an append with a recorded id changes nothing and returns the
//     record, I9 ("a duplicate command returns the record").
//  5. Each Append is atomic, and independent of the others of its batch ("a
//     refused append leaves its group alone").
//  6. One of several concurrent swaps of the arbiter row wins, I6 ("concurrent
//     swaps of the arbiter row have one winner").
//
// Not guaranteed: that a token names the present owner. It names the last one
// who claimed; only the cluster decides who may.
//
// Failure handling. Errors are values to switch on, see errors.go. The only one
// that leaves the outcome open is [ErrUnknown].
package journal
