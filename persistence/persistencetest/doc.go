// Package persistencetest runs an event-sourced type without a cluster: given
// events, when a command, then events and a reply.
//
//	kit := persistencetest.New(t, accounts)
//	kit.Given("a", Deposited{Amount: 10})
//	bal, err := deposit.Ask(t.Context(), kit, "a", Deposit{Amount: 5})
//	kit.Then("a", Deposited{Amount: 5})
//
// A [Kit] is a sharding.Router over a store in memory, so methods are called
// as they are in a program. Everything crosses the codec on the way, and after
// each command the entity is loaded again in several ways that must agree: an
// Apply that reads the clock, and a state or event that its codec does not
// carry whole, fail the test.
package persistencetest
