// Package persistence makes entities whose state is the sum of their events,
// kept in a journal.
//
//	accounts := persistence.NewType("account", Account.Apply)
//	deposit  := persistence.Handle(accounts, "deposit", Account.Deposit, Account.Statement)
//	balance  := persistence.Query(accounts, "balance", Account.Read)
//
// A command decides on events, a pure function of state and request; the
// events change the state through Apply. One command at a time:
//
//	          id known in memory? ---------------------------------> recorded outcome
//	             | no
//	request --> decide --> apply --> append (events, outcome, snapshot) --> reply
//	             |                     | fenced: the shard stops
//	             | refusal             | id recorded: recorded outcome
//	             v                     | conflict, in doubt: loaded again
//	          append (outcome), only with an id
//
// A [Type] does not change when a node starts. The node binds it to its store
// (see [Bindable]) and hosts what comes out.
//
// Guarantees, with the test that proves each:
//
//  1. An acknowledged command is in the journal, and the next activation has it
//     (TestAnEntityIsItsHistory).
//  2. A command with an id runs once. Every repeat gets the outcome of the
//     first, reply or refusal, from whichever node has the entity, for as long
//     as the store keeps it (TestARepeatedCommandGetsItsFirstReply,
//     TestARefusalOfACommandWithAnIDStands). The id with another method or
//     request is refused (TestACommandIDUsedForSomethingElseIsRefused).
//  3. A node that lost the shard writes nothing, and stops the shard when it
//     learns of it (TestAFencedAppendStopsTheShard).
//  4. A write in doubt is settled before the entity runs again: it is in the
//     history the next activation reads, or never will be
//     (TestAWriteInDoubtMayHaveRunAndIsSettledByTheNextActivation).
//  5. An event that Apply cannot take, or that its codec cannot write, does not
//     get into the history (TestAPanicWritesNothing).
//  6. An error says whether the command may have run: only codes Lost and
//     Failed may (TestAnUnavailableStoreMeansNotRun).
//
// Not guaranteed: decide and Apply must be functions of what they are given;
// package persistencetest finds most that are not. A state whose maps and
// slices Apply changes in place is sound for commands, because an append that
// does not succeed loads the entity again, but a reply must not share them.
//
// Failure handling. Fenced: Unavailable, and the shard stops. Conflict: the
// entity is loaded again, Unavailable. Store unavailable: Unavailable. In
// doubt: the shard is claimed again before the next activation, which fences
// the write, and the caller gets Lost; with a command id Ask tries again by
// itself. A panic in user code drops the entity: the region turns it into an
// error (TestARegionTurnsAPanicIntoAnErrorAndGoesOn).
//
// Concurrency. The region calls one entity from one goroutine. What entities
// share is read-only, except the claims, which have a lock.
package persistence
