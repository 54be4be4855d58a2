// Package frontdoor passes TCP connections to ready nodes, as a network load
// balancer in front of them does. It is for development: one process, on loopback.
//
//	               ┌───────────── Door ─────────────┐
//	client ──TCP──▶ accept ─▶ next ready target ─dial─▶ node 1   /ready 200
//	               │             (round robin)      │   node 2   /ready 503: no new connections
//	               │  GET /ready of each, every 200 ms
//	               └────────────────────────────────┘
//
// Guarantees, with the test that proves each:
//
//  1. A new connection goes to a target whose last checks succeeded, one after
//     the other (TestConnectionsGoRoundReadyTargets).
//  2. A target that refuses the dial is passed over for another ready one; no
//     byte was read from the client by then (TestARefusedDialTriesAnotherTarget).
//  3. Bytes pass unchanged and unparsed in both directions, and one direction
//     may end before the other (TestOneDirectionMayEndBeforeTheOther).
//  4. A target that turns unready keeps the connections it has
//     (TestAnUnreadyTargetKeepsItsConnections).
//  5. At most MaxConns connections pass at a time; more wait unaccepted
//     (TestConnectionsOverTheBoundWait). One that is silent for IdleTimeout in both directions is cut
//     (TestASilentConnectionIsCut).
//
// With no ready target a connection is reset at once, so that a client sees the
// failure instead of a wait. The choice in guarantee 2 is kinder than a real
// network load balancer, which fails the connection.
//
// Run owns all goroutines: one for each target's checks, and two for each
// connection. When its context ends it cuts what is left and returns.
package frontdoor
