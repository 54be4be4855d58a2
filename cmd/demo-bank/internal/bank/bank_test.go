package bank

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func TestDecisions(t *testing.T) {
	deposit := func(n int64) func(Account) ([]Posted, error) {
		return func(a Account) ([]Posted, error) { return a.Deposit(Deposit{Amount: n}) }
	}
	withdraw := func(n int64) func(Account) ([]Posted, error) {
		return func(a Account) ([]Posted, error) { return a.Withdraw(Withdraw{Amount: n}) }
	}
	tests := []struct {
		name    string
		balance int64
		decide  func(Account) ([]Posted, error)
		want    int64 // the posting
		refused error
	}{
		{"deposit the least", 0, deposit(1), 1, nil},
		{"deposit the most", 0, deposit(MaxAmount), MaxAmount, nil},
		{"deposit up to the bound", MaxBalance - 5, deposit(5), 5, nil},
		{"deposit over the bound", MaxBalance - 5, deposit(6), 0, ErrExcessBalance},
		{"deposit into a full account", MaxBalance, deposit(1), 0, ErrExcessBalance},
		{"deposit nothing", 5, deposit(0), 0, ErrAmount},
		{"deposit a negative amount", 5, deposit(-1), 0, ErrAmount},
		{"deposit too much at once", 0, deposit(MaxAmount + 1), 0, ErrAmount},
		{"deposit what would overflow", MaxBalance, deposit(math.MaxInt64), 0, ErrAmount},
		{"withdraw all", 5, withdraw(5), -5, nil},
		{"withdraw more than there is", 5, withdraw(6), 0, ErrShortBalance},
		{"withdraw from a new account", 0, withdraw(1), 0, ErrShortBalance},
		{"withdraw nothing", 5, withdraw(0), 0, ErrAmount},
		{"withdraw a negative amount", 5, withdraw(-1), 0, ErrAmount},
		{"withdraw the least number", 5, withdraw(math.MinInt64), 0, ErrAmount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := tt.decide(Account{Balance: tt.balance, Sequence: 7})
			if !errors.Is(err, tt.refused) || tt.refused == nil && err != nil {
				t.Fatalf("got error %v, want %v", err, tt.refused)
			}
			if err != nil {
				if len(events) != 0 {
					t.Errorf("refused, and got events %v, want none", events)
				}
				return
			}
			if len(events) != 1 || events[0].Amount != tt.want {
				t.Fatalf("got events %v, want one posting of %d", events, tt.want)
			}
			got := Account{Balance: tt.balance, Sequence: 7}.Apply(events[0]).Statement()
			if want := (Statement{Balance: tt.balance + tt.want, Sequence: 8}); got != want {
				t.Errorf("afterwards: got %+v, want %+v", got, want)
			}
		})
	}
}

func TestTheBalanceStaysWithinItsBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var a Account
	for range 10_000 {
		amount := random.Int64N(3*MaxAmount) - MaxAmount
		events, err := a.Deposit(Deposit{Amount: amount})
		if random.IntN(2) == 0 {
			events, err = a.Withdraw(Withdraw{Amount: amount})
		}
		before := a
		for _, e := range events {
			a = a.Apply(e)
		}
		if err != nil && a != before {
			t.Fatalf("a refusal changed %+v to %+v", before, a)
		}
		if a.Balance < 0 || a.Balance > MaxBalance {
			t.Fatalf("balance %d after %+v and amount %d", a.Balance, before, amount)
		}
	}
}
