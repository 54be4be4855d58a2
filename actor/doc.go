// Package actor gives typed local actors on top of protoactor-go's actor package.
//
// An actor is a behavior, a bounded queue and a place in a tree. It handles one
// message at a time; other goroutines know it by its [Ref].
//
//	 Tell, Ask            one goroutine at a time
//	───────────▶ [ queue ] ───────────▶ Behavior.Receive ──error, panic──┐
//	     │ full, stopped                      ▲                          ▼
//	     ▼                                    │ fresh behavior     supervision
//	an error to the sender                    └───── restart ◀───────────┤
//	                                                                     ▼
//	               children end ▶ Stopped ▶ dead letters ▶ Done ◀────── stop
//
// Protoactor gives an actor its identity, its entry in the process table and its
// context, and calls it for each message. The mailbox is our own, as protoactor
// lets a mailbox be; supervision, the tree, stopping and Ask are our own too.
// Why, trap by trap:
//
//   - a nil message makes protoactor's mailbox spin: nil is refused
//   - messages queued behind its Stop vanish: here they are handed back and counted
//   - its ActorSystem.Shutdown stops nothing: here the tree ends, children first
//   - of several waiters on its Future one wakes: Done is a channel that is closed
//   - its Future costs 12 allocations and a timer: Ask costs two small ones
//   - its Stash turns the order around and its ReceiveTimeout races: neither is offered
//   - its default logger writes to stderr at info, its metrics serve HTTP: what it
//     logs at warn and above goes to Config.Logger, its metrics stay off
//
// # Guarantees
//
//  1. One message at a time; those of one sender in their order, also across a
//     restart. TestMessagesOfOneSenderAreHandledInOrderOneAtATime,
//     TestFailuresRestartUpToTheLimitAndThenStop
//  2. Tell never blocks, and a queue never exceeds its bound.
//     TestAFullMailboxRefusesAndNeverBlocks
//  3. A message that was taken is handled, or counted in DeadLetters and handed to
//     Undelivered. TestStopHandsBackWhatIsQueuedAndCountsIt,
//     TestDrainHandlesAllThatIsQueued
//  4. A failure, panics and runtime.Goexit included, ends in a restart or in a stop
//     with its reason, never in the end of the process.
//     TestFailuresRestartUpToTheLimitAndThenStop,
//     TestPanicsInHooksDoNotKeepAnActorFromEnding
//  5. A parent ends, and restarts, after its last child has ended.
//     TestChildrenEndBeforeTheirParent
//  6. After Shutdown no actor and no goroutine is left, whoever spawns meanwhile.
//     TestShutdownAndSpawnMayRace,
//     TestGoroutinesWaitForTheNextActorAndEndWithTheSystem
//  7. An Ask returns the reply of its own message, or as soon as it is known that
//     none will come, or when its ctx ends. TestLateRepliesNeverReachAnotherAsk,
//     TestAskersLearnAtOnceThatNoReplyWillCome
//
// Not guaranteed: that a message is handled again after the failure it caused (it
// is not); that an asker learns of a reply that the behavior simply forgot while
// it lives on (give ctx a deadline); an order among siblings that stop.
//
// # Cost
//
// Measured on two cores (go test -bench . -run '^$' ./actor): an idle actor keeps
// 450 bytes, protoactor's 665; Tell with handling takes 80 to 110 ns, its Send 70 to 120; Ask
// 2.4 µs, its RequestFuture 4.5 µs. An idle actor has no goroutine, no channel and
// no timer; a queue that grew is given back when the actor becomes idle.
//
// # Concurrency
//
// System and Ref are safe for concurrent use. A [Context] belongs to the call it
// was given to. Behaviors may block: an actor that has something to do gets a
// goroutine at once, whatever others do; one that has finished takes the next actor
// or waits for it, up to 256 of them until Shutdown. Hooks of [Events] and Props run in the goroutine of what
// they report; their panics are logged.
package actor
