// Package holdfast runs stateful services: small, single-threaded, durable
// entities spread over a cluster that finds itself and heals itself.
//
//	node, err := holdfast.Start(ctx, holdfast.Config{
//		Cluster:  "bank",
//		Entities: []sharding.Entity{accounts},
//		Journal:  store,
//	})
//	...
//	balance, err := deposit.Ask(ctx, node, "tenant-a/42", Deposit{Amount: 100})
//	...
//	err = node.Shutdown(ctx)
//
// This package only composes: the parts are cluster (membership, sessions),
// sharding (regions, entities), persistence (event-sourced entities on a
// journal), bootstrap (finding or forming a cluster), httpapi (health and
// management) and coordinatedshutdown (the order of stopping).
//
// # Start
//
//	store (the caller opened it) ──> cluster port ──> management port: alive, not ready
//	  ──> bootstrap: join or form ──> up, session held ──> application port ──> ready
//
// Start returns when the last step is done, or with a *StartError that says
// which step failed and with what code the process should exit.
//
// # Stop
//
// Shutdown, SIGTERM (through [Node.ShutdownOnSignals]) and the end of the
// membership run the same phases once: unready and evacuating while requests
// are still forwarded, then the application port, then what is left of the
// shards, then the membership, and the cluster port last: that a connection is
// refused is the proof that no entity of this node runs.
package holdfast
