package remote

import "github.com/holdfast-go/holdfast/cluster/member"

// Identity is what a node tells about itself to whoever asks at its address.
type Identity struct {
	member.Node
	// Cluster is the name of the node's cluster.
	Cluster string
	// Generation of the cluster, 0 before the node is in one.
	Generation uint64
}
