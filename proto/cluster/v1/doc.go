// Package clusterv1 is the wire format of the membership protocol and the replicated log, generated from
// cluster.proto by proto/generate.sh.
package clusterv1
