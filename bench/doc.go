// Package bench measures Holdfast beside what it is built on, and prints
// ratios. Run it with "make bench"; docs/reference/benchmarks.md has what each
// benchmark compares, the target, and figures.
//
//	BenchmarkRemoteAsk      ask of an entity in another process │ bare batched gRPC stream
//	BenchmarkLocalAsk       ask of an entity on this node       │ protoactor's RequestFuture
//	BenchmarkIdleMemory     heap of an idle entity
//	BenchmarkDurableDeposit deposits over HTTP on three nodes   │ the store's group commit
//
// The sides of a comparison take turns for a fraction of a second each, several
// rounds long, in one run: what else the machine does meanwhile hits all of
// them. The ratio is the median over the rounds. No benchmark fails because the
// machine is slow.
//
// Other nodes are other processes: this test binary, started again.
package bench
