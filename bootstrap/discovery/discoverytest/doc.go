// Package discoverytest is the conformance suite of package discovery: what
// every implementation has to do, whatever it asks.
package discoverytest
