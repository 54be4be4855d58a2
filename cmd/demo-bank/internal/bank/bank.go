package bank

import (
	"fmt"

	"github.com/holdfast-go/holdfast/sharding"
)

// Bounds, in the bank's smallest unit of money.
const (
	// MaxBalance is the most an account can hold.
	MaxBalance = 10_000_000
	// MaxAmount is the most that one command can move.
	MaxAmount = 10_000_000
)

// Refusals of the domain. Their codes are part of the HTTP interface.
var (
	// ErrAmount is the refusal of an amount outside 1..MaxAmount.
	ErrAmount = sharding.Reject("amount-out-of-range")
	// ErrShortBalance is the refusal to withdraw more than there is.
	ErrShortBalance = sharding.Reject("short-balance")
	// ErrExcessBalance is the refusal to hold more than MaxBalance.
	ErrExcessBalance = sharding.Reject("excess-balance")
)

// Deposit puts money into an account.
type Deposit struct {
	Amount int64 `json:"amount"`
}

// Withdraw takes money from an account.
type Withdraw struct {
	Amount int64 `json:"amount"`
}

// GetBalance asks for the statement of an account.
type GetBalance struct{}

// Posted is the one thing that happens to accounts.
type Posted struct {
	// Amount is what the balance changed by: negative for a withdrawal.
	Amount int64 `json:"amount"`
}

// Statement is what an account answers.
type Statement struct {
	Balance int64 `json:"balance"`
	// Sequence counts the postings, so that a client sees their order.
	Sequence uint64 `json:"sequence"`
}

// Account is the state of an account. The zero value is a new one.
type Account struct {
	Balance  int64  `json:"balance"`
	Sequence uint64 `json:"sequence"`
}

// Apply returns the account after e.
func (a Account) Apply(e Posted) Account {
	a.Balance += e.Amount
	a.Sequence++
	return a
}

// Deposit decides what the command causes: one posting, or a refusal.
func (a Account) Deposit(d Deposit) ([]Posted, error) {
	switch {
	case d.Amount < 1 || d.Amount > MaxAmount:
		return nil, fmt.Errorf("%w: %d is not in 1..%d", ErrAmount, d.Amount, MaxAmount)
	case d.Amount > MaxBalance-a.Balance:
		return nil, fmt.Errorf("%w: the account holds %d and may hold %d", ErrExcessBalance, a.Balance, MaxBalance)
	}
	return []Posted{{Amount: d.Amount}}, nil
}

// Withdraw decides what the command causes: one posting, or a refusal.
func (a Account) Withdraw(w Withdraw) ([]Posted, error) {
	switch {
	case w.Amount < 1 || w.Amount > MaxAmount:
		return nil, fmt.Errorf("%w: %d is not in 1..%d", ErrAmount, w.Amount, MaxAmount)
	case w.Amount > a.Balance:
		return nil, fmt.Errorf("%w: the account holds %d", ErrShortBalance, a.Balance)
	}
	return []Posted{{Amount: -w.Amount}}, nil
}

// Statement returns what the account answers to every command.
func (a Account) Statement() Statement { return Statement(a) }

// Answer answers a question for the balance.
func (a Account) Answer(GetBalance) (Statement, error) { return a.Statement(), nil }
