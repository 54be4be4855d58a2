// Package httpapi is the HTTP edge of a node: the management server, and helpers
// for the servers of applications.
//
//	GET /startup                 200 once every gate has been open
//	GET /alive                   200 while the process serves and alive checks pass
//	GET /ready                   200 while every gate is open and ready checks pass
//	GET /cluster/members         the view of this node
//	GET /cluster/shards          entity types and the states of their shards
//	GET /cluster/shards/{type}   every shard of a type, ?state= filters
//	GET /bootstrap/seed-nodes    probes of starting nodes
//
// Errors are problem+json (RFC 9457) with three fields more: "code" for
// programs, "retryable", and "mayHaveRun", which says whether the request may
// have taken effect all the same.
//
// # Stopping without failed requests
//
// A load balancer goes on sending for a while after a node has turned unready,
// so [Drain] lets the server go on accepting, asks clients to leave
// (Connection: close), and tells when they have:
//
//	Drain.Start ──> no new connection for a while ──> Server.Unbind ──> Drain.WaitRequests ──> Run's ctx ends
//	 (unready)          (Drain.WaitQuiet)              (listener closed)   (none in flight)
//
// # Guarantees
//
//  1. A port that is taken is an error of New or Listen that names the address
//     and the remedy (TestATakenPortIsAnErrorThatHelps).
//  2. Health answers within its timeout although a check hangs, and runs each
//     check at most once at a time (TestAHangingCheckIsReported,
//     TestChecksRunOnceAtATime).
//  3. A request body is bounded in size and decoded strictly: nothing that a
//     client sent is ignored (TestBadBodiesAreRefused, FuzzBodies).
//  4. Run returns after the last connection has been served or its time is up
//     (TestRunEndsWithItsContext).
//
// The management server has no authentication and shows addresses: bind it to
// an address that only the cluster and its operators reach.
//
// # Concurrency
//
// All methods may be called by many goroutines at once. Sources are called by
// many goroutines at once.
package httpapi
