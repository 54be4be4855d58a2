// Package sharding spreads entities over the cluster and routes calls to them.
package sharding
