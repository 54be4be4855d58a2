package sharding

// ShardOf returns the shard of an entity id among n: FNV-1a with 64 bits over
// its bytes, unsigned, modulo n. It is part of the wire contract.
func ShardOf(id string, n int) int {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return int(h % uint64(n))
}
