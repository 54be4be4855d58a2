// Package journaltest is the conformance suite for stores: a store that passes
// [Run] keeps the contract of package journal, and one that passes [Crash]
// keeps it when its processes are killed.
//
//	func TestStore(t *testing.T) {
//		journaltest.Run(t, func(t *testing.T) journaltest.Open { … })
//	}
package journaltest
