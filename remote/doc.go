// Package remote carries messages between the nodes of a cluster.
//
// # Model
//
// A [Lane] is an ordered channel from this node to one incarnation of another,
// one for each [Class]. Messages and asks go from the node that opened it to
// the other, replies come back on the same connection. Traffic in the other
// direction has lanes of its own.
//
//	   node a                                      node b
//	Post ─> Outbox ─> batch ─┐            ┌─> batch ─> Handler
//	          │              │ gRPC stream│               │
//	Done <─ ask table <──────┴────────────┴── replies <─ Reply
//
// [Endpoint] is the [Transport] over TCP. One port takes everything; the first
// bytes of a connection, inside TLS when configured, tell what it is:
//
//	HTTP/2 preface ──> gRPC ──> stream holdfast.remote.v1.Lanes/Lane: a lane
//	"HOLDFAST"     ──> hello ─┬> "probe": answer and close
//	                          └> "stream/<purpose>": a net.Conn for AcceptStreams
//	anything else  ──> closed and counted, nothing else is affected
//
// Every connection starts with a hello that names cluster, protocol version,
// the caller, its generation and the incarnation it means to reach. A node
// answers with its own identity and refuses what does not fit. Only a probe,
// and [Endpoint.AskAddr] behind it, may go to whoever lives at an address.
//
// # Guarantees
//
//  1. Messages of one sender and class are handled one at a time in the order
//     they were posted, also across a reconnect ("messages of a class arrive in
//     order", TestANewerConnectionOfALaneDisplacesTheOlderOne).
//  2. Done is called exactly once for each ask that Post accepted, with a code
//     that says whether the message may have been handled
//     (TestAnAskEndsOnceWhateverComesSecond, TestRunReturnsAfterItsLastGoroutine).
//  3. An ask fails at most two ticks after its deadline, never before
//     (TestAnAskExpiresWithinATickOfItsDeadline).
//  4. No message reaches another incarnation than the one meant, nor a node of
//     another cluster or generation (TestAWrongHelloIsRefusedWithItsReason).
//  5. Queues, batches, messages, open asks, handshakes and connections are
//     bounded; a receiver that does not read fills the sender's queue, and
//     Post says so ("a full queue refuses and tells when there is room",
//     TestManyConnectionsWithoutAHandshakeAreBounded).
//  6. [Refused] and [Replaced] prove an incarnation dead, given that its address
//     is an IP address, no firewall answers in its place, and the node runs its
//     Endpoint until its last entity has stopped: the listener closes last
//     (TestProbesAreAnsweredUntilTheLastHandlerHasEnded).
//  7. Bytes from outside cannot end the process, nor can a panic in a handler
//     (TestGarbageOnThePortEndsItsConnectionAndNothingElse, FuzzPacket,
//     FuzzHello, "a panic in a handler is answered").
//
// The quoted names are tests of the suite in remotetest, which both transports
// pass.
//
// # Not guaranteed
//
// A tell is sent at most once: when a connection breaks, the tells that the
// other side has not acknowledged are counted in Events.TellsLost and not
// sent again. An acknowledgement means that the handler returned.
// A message in one class says nothing about one in the other.
//
// # Failure
//
//	connection breaks    sent asks fail with CodeLaneLost, OnLost is called,
//	                     queued posts wait for the next connection
//	dial is refused, or  the lane closes for good, queued posts fail with
//	another node answers CodeNotSent, Post returns ErrClosed
//	other failure        the next attempt follows after 20 ms, doubling to 1 s
//	SIGKILL of a process noticed within milliseconds, by the end of its connections
//	SIGSTOP of a process its acceptors notice after 8 s, its dialers after 13 s
//	                     (a gRPC client pings at most each 10 s)
//	host is silent       noticed after 8 s (TCP keep-alive and user timeout)
//
// # Concurrency
//
// All methods may be called from any goroutine. [Endpoint.Run] owns every
// goroutine and returns after the last has ended. A handler runs on the
// goroutine that reads its lane, Done on the lane's reader, or on the goroutine
// that watches deadlines; neither may block. OnLost has a goroutine of its own.
package remote
