package sim

import (
	"context"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/sharding"
)

// shards is the number of shards of the accounts.
const shards = 12

// account is the state of one durable entity.
type account struct{ Balance int64 }

// moved is the only event. Op names the operation that caused it; Stream and N
// are its place in what one sender sent.
type moved struct {
	Op     string
	Amount int64
	Stream string
	N      int
}

// move adds Amount, which may be negative.
type move struct {
	Op     string
	Amount int64
	Stream string
	N      int
}

// statement is the account after a move, or at a read: Seq events made Balance.
type statement struct {
	Seq     uint64
	Balance int64
}

var errInsufficient = sharding.Reject("insufficient")

// bank is the entity type with its methods. Each history makes its own.
type bank struct {
	typ  *persistence.Type[account, moved]
	move sharding.Method[move, statement]
	read sharding.Method[struct{}, statement]
}

func newBank() *bank {
	b := &bank{typ: persistence.NewType("account", func(a account, e moved) account {
		a.Balance += e.Amount
		return a
	})}
	b.typ.Shards, b.typ.PassivateAfter, b.typ.SnapshotEvery = shards, passivateAfter, 10
	b.move = persistence.HandleResult(b.typ, "move",
		func(_ context.Context, r persistence.Result[account], q move) ([]moved, error) {
			if r.State.Balance+q.Amount < 0 {
				return nil, errInsufficient
			}
			return []moved{moved(q)}, nil
		}, statementOf)
	b.read = persistence.QueryResult(b.typ, "read", func(_ context.Context, r persistence.Result[account], _ struct{}) (statement, error) {
		return statementOf(r), nil
	})
	return b
}

func statementOf(r persistence.Result[account]) statement {
	return statement{Seq: r.Seq, Balance: r.State.Balance}
}
