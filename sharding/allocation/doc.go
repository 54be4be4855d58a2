// Package allocation decides which node should hold the next shard, and which
// shard should move, by counting shards: the least-shards strategy.
//
// A strategy works on [Loads], the score board of the nodes that may be given
// shards of one entity type now. The caller (package sharding/placement) turns
// its answers into changes of the shard table.
//
//	                  Loads (one entity type)
//	node   version  shards  total        Pick   -> c (fewest shards)
//	a      v2       3       10           Even 1 -> a gives one to c
//	b      v2       2       10
//	c      v2       0        8
//
// # Guarantees
//
//  1. Pick answers the node with the fewest shards of the type, then the lowest
//     total over all types, then the lowest address
//     (TestPickTakesTheNodeWithTheFewestShards).
//  2. While several app versions are present, Pick answers a node of the newest
//     one until those hold twice the average (TestPickPrefersTheNewestVersion).
//  3. Even ends with a difference of at most one shard between any two nodes,
//     and never gives a shard to a node that it takes one from
//     (TestEvenEndsWithADifferenceOfAtMostOne).
//  4. The same input in any order gives the same answer
//     (TestAnswersDoNotDependOnTheOrderOfNodes).
//
// Not guaranteed: even load. Shards are counted, not weighed, and failure
// zones are balanced only as far as their nodes are.
//
// The package is pure: it starts no goroutine and reads no clock. A Loads value
// is not safe for concurrent use.
package allocation
