// Package discovery is the port through which a starting node learns who might
// be out there.
//
// What it answers are candidates, nothing more: package bootstrap asks each of
// them before it believes anything, and a candidate that is missing from one
// answer is not thereby gone. Removing members is the business of the failure
// detector; a discovery that fails, or forgets half of the nodes for a moment,
// must not take anything away from a running cluster.
//
// Implementations are in sub-packages named after what they ask (static, ...);
// each passes the suite in discoverytest.
package discovery
