// Package memory is a journal in the memory of one process, for tests and for
// trying things out. Everything is lost with the process.
//
// One Store may be shared by several nodes in one process: that is how a test
// runs a cluster over one "database". It keeps the guarantees of package
// journal with one mutex, and is checked by journaltest like every other store.
package memory
