// Package remotetest has a [remote.Transport] in memory, whose network can be
// made to lie, and the suite that every transport must pass.
//
//	net := remotetest.NewNetwork(seed)
//	a := net.Node(member.Node{ID: "a", Addr: "10.0.0.1:25520"})
//	b := net.Node(member.Node{ID: "b", Addr: "10.0.0.2:25520"})
//	go a.Run(ctx); go b.Run(ctx)
//	net.Cut(a.Self(), b.Self())
//
// It opens no socket and reads only the clock of package time, so it works
// inside a testing/synctest bubble; make the network inside the bubble then.
//
// # The model
//
// A connection behaves like TCP: what is sent while the path is cut waits and
// arrives after [Network.Heal]; a connection whose path stays cut for
// [Network.BreakAfter] breaks, at both ends. A killed node breaks its
// connections at once, unless the path is cut. Drop is the exception: it makes
// single messages and replies of lanes vanish, which TCP never does, to test
// what a caller does about a reply that does not come.
//
// Faults belong to addresses and stay when a node is replaced; Kill and Hang
// belong to a node.
package remotetest
