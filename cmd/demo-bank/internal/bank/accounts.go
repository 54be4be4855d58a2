package bank

import (
	"context"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/sharding"
)

// Accounts is the accounts of all tenants as entities of a cluster. The id of
// one is "tenant/number".
type Accounts struct {
	// Type for the node to host.
	Type *persistence.Type[Account, Posted]

	deposit  sharding.Method[Deposit, Statement]
	withdraw sharding.Method[Withdraw, Statement]
	balance  sharding.Method[GetBalance, Statement]
}

// NewAccounts returns the entity type and its methods. The names are those on
// the wire and in the journal: they stay when Go names change.
func NewAccounts() *Accounts {
	t := persistence.NewType("account", Account.Apply)
	persistence.Event[Posted](t, "posted")
	return &Accounts{
		Type:     t,
		deposit:  persistence.Handle(t, "deposit", Account.Deposit, Account.Statement),
		withdraw: persistence.Handle(t, "withdraw", Account.Withdraw, Account.Statement),
		balance:  persistence.Query(t, "balance", Account.Answer),
	}
}

// Client calls accounts wherever they are.
type Client struct {
	// Router carries the calls. It is set before the first one.
	Router   sharding.Router
	accounts *Accounts
}

// Client returns a client that calls by way of a router: a node.
func (a *Accounts) Client(r sharding.Router) *Client { return &Client{Router: r, accounts: a} }

func entityID(tenant, accountNo string) string { return tenant + "/" + accountNo }

// Balance returns the statement of an account.
func (c *Client) Balance(ctx context.Context, tenant, accountNo string) (Statement, error) {
	return c.accounts.balance.Ask(ctx, c.Router, entityID(tenant, accountNo), GetBalance{})
}

// Deposit puts amount into an account, once for each key.
func (c *Client) Deposit(ctx context.Context, tenant, accountNo, key string, amount int64) (Statement, error) {
	return c.accounts.deposit.Ask(sharding.CommandID(ctx, key), c.Router, entityID(tenant, accountNo), Deposit{Amount: amount})
}

// Withdraw takes amount from an account, once for each key.
func (c *Client) Withdraw(ctx context.Context, tenant, accountNo, key string, amount int64) (Statement, error) {
	return c.accounts.withdraw.Ask(sharding.CommandID(ctx, key), c.Router, entityID(tenant, accountNo), Withdraw{Amount: amount})
}
