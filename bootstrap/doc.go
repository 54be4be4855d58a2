// Package bootstrap brings a starting node into a cluster: it asks the nodes
// that discovery knows whether they are in one, joins it if so, and otherwise
// agrees with them on the one node that forms it.
//
//	         discovery                 GET /bootstrap/seed-nodes
//	             │ contact points                │ answers
//	             ▼                               ▼
//	       ┌──────────────────── Decide ────────────────────┐
//	       │ seeds named?                  yes ──> join     │
//	       │ enough nodes, for long enough,                 │
//	       │ none silent, mine is lowest?  yes ──> form     │
//	       │ otherwise                         keep probing │
//	       └────────────────────────────────────────────────┘
//	join, form failed ──> keep probing          refused for good ──> error
//
// [Decide] is pure and returns its reason; [Bootstrap] probes and acts.
//
// # Guarantees
//
//  1. Nodes that see the same answers agree on exactly one that forms
//     (TestExactlyOneOfThemForms), and nodes that start together end in one
//     cluster (TestNodesThatStartTogetherFormOneCluster).
//  2. A cluster that some contact point is in is joined and never doubled, even
//     while discovery fails (TestDecide).
//  3. What contact points answer is bounded in time and size, and cannot break
//     the node (TestBadAnswersAreRefused, FuzzAnswers).
//  4. Run ends with its context, leaves no goroutine behind, and says what it
//     was waiting for (TestRunEndsWithItsContext).
//
// Not guaranteed here: that two nodes with different discovery answers do not
// form two clusters. The claim of a generation in the store lets one of them
// win; the other finds [ErrClaimed] and joins. Without a store, set
// RequiredContactPoints to the number of nodes of the first start.
//
// # Failure handling
//
// A discovery that fails is asked again with a growing pause and blocks forming,
// not joining. A contact point stays one as long as it answers, even when
// discovery forgets it. An attempt to join or to form that fails is logged and
// tried again after the next round of probes; one that is refused for good (an
// error with Final() true) ends Run. There is no deadline of its own: a node
// that finds no cluster waits, unready, and [Bootstrap.Last] says why.
//
// # Concurrency
//
// Run owns one goroutine for discovery and those of a round of probes. Last may
// be called at any time.
package bootstrap
