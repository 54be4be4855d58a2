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
// Guarantees, proved by journaltest:
//
//  1. A stream has no gap and no fork (I2).
//  2. After Claim returned, no append with an older token is accepted, ever.
//  3. An append that returned no error is durable (I3).
//  4. A command id is recorded at most once per stream; an append with a
//     recorded id changes nothing and returns the record (I9).
package journal
