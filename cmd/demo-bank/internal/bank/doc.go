// Package bank is the domain of the demo: accounts that money is put into and
// taken from. An [Account] is pure: it decides what a command causes, and applies
// what was decided; it knows nothing of storage, nodes or HTTP. [Accounts] makes
// entities of them.
//
// Rules: a balance is 0..MaxBalance; an amount is a whole number in
// 1..MaxAmount; an account exists from the beginning, with balance 0. A refusal
// changes nothing.
package bank
