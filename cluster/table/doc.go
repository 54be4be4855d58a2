// Package table is the replicated table of a cluster as a pure state machine:
// its members, the settings all of them agree on, and the owners of all
// shards. Every replica applies the same commands at the same indexes and so
// reaches the same table.
//
// The rules that make it safe are checked here, where they cannot be raced:
// a status only changes along the life cycle of package member; a shard leaves
// its owner only when the owner released it, or when the leader declared the
// owner's session over ([Expire]) or the owner down.
//
// The package is pure: it starts no goroutine and reads no clock.
package table
