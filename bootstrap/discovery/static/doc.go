// Package static is a discovery that always answers the same targets: a list
// from the configuration. It suits a fixed set of machines, tests, and a single
// node that is its own only contact point.
package static
