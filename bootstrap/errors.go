package bootstrap

import "errors"

// ErrClaimed is what a [Joiner]'s Form returns, wrapped, when another node
// claimed a generation first. Bootstrap goes on probing until it finds that
// node's cluster.
var ErrClaimed = errors.New("bootstrap: another node has formed the cluster")

// isFinal reports whether an error says that trying again cannot help, such as
// a refusal because settings that must agree do not. It is declared by a method
// so that package cluster need not import this one.
func isFinal(err error) bool {
	var final interface {
		error
		Final() bool
	}
	return errors.As(err, &final) && final.Final()
}
