// Package shardingv1 is the wire format of calls to entities, generated from
// sharding.proto by proto/generate.sh.
package shardingv1
