package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// An account is a value. Its events and commands are, too.
type (
	Account   struct{ Balance int }
	Deposited struct{ Amount int }
	Deposit   struct{ Amount int }
)

var ErrAmount = sharding.Reject("amount-not-positive")

func (a Account) Apply(e Deposited) Account { return Account{a.Balance + e.Amount} }
func (a Account) Statement() int            { return a.Balance }
func (a Account) Deposit(d Deposit) ([]Deposited, error) {
	if d.Amount <= 0 {
		return nil, ErrAmount
	}
	return []Deposited{{d.Amount}}, nil
}

var (
	accounts = persistence.NewType("account", Account.Apply)
	pay      = persistence.Handle(accounts, "deposit", Account.Deposit, Account.Statement)
)

// One node with an account. The same program on several machines, with a
// shared journal and a Discovery, is a cluster.
func Example() {
	ctx := context.Background()
	node, err := holdfast.Start(ctx, holdfast.Config{
		Cluster: "bank", Entities: []sharding.Entity{accounts}, Journal: memory.New(),
		Host: "127.0.0.1", ClusterPort: -1, ManagementPort: -1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	once := sharding.CommandID(ctx, "order-7")
	fmt.Println(pay.Ask(once, node, "alice", Deposit{100}))
	fmt.Println(pay.Ask(once, node, "alice", Deposit{100})) // the recorded reply, not a second deposit
	_, err = pay.Ask(ctx, node, "alice", Deposit{-5})
	fmt.Println(errors.Is(err, ErrAmount))
	fmt.Println(node.Shutdown(ctx))
	// Output:
	// 100 <nil>
	// 100 <nil>
	// true
	// <nil>
}
