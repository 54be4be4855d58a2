// Package archtest holds the architecture as code and fails when a package
// imports upwards.
//
//	programs   cmd/…                            proof: bench, chaos, ecslab, internal/sim
//	   │                                          (may import everything)
//	root       holdfast                         composition only
//	   │
//	edge       httpapi
//	   │
//	shells     cluster  sharding  persistence  bootstrap  coordinatedshutdown
//	   │                                        own goroutines, clocks and I/O
//	ports      actor  remote  persistence/journal  bootstrap/discovery  internal/wire
//	   │
//	deciders   sbr  cluster/table  sharding/allocation  sharding/placement
//	   │                                        pure: no goroutine, no clock, no I/O
//	values     cluster/member
//
// Guarantees, the first four proved by TestTheRulesCatch on a tree that breaks them
// and held for this module by TestEveryPackageKeepsItsLayer:
//
//  1. A package imports only the packages of this module that its row in the
//     table allows, and a package without a row fails.
//  2. A pure package, or a pure file inside a shell, imports nothing that can
//     do I/O, reads no clock and starts no goroutine.
//  3. A third-party library with a home is imported at home only, so that it
//     can be replaced there.
//  4. A row whose package is gone fails, so that the table stays the truth.
//  5. A test that a doc.go or a page of docs names as a proof exists
//     (TestEveryCitedTestExists, TestAMissingProofIsFound).
//
// Test files are not checked: a test may need anything. The sources are parsed
// in this process rather than by "go list", because go test caches by the
// files that the test process opens and cannot see into a child.
package archtest
