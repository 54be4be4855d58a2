package bank_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/bank"
	"github.com/holdfast-go/holdfast/persistence/persistencetest"
	"github.com/holdfast-go/holdfast/sharding"
)

func TestAnAccountIsItsPostings(t *testing.T) {
	accounts := bank.NewAccounts()
	kit := persistencetest.New(t, accounts.Type)
	client := accounts.Client(kit)
	kit.Given("tenant-a/42", bank.Posted{Amount: 100}, bank.Posted{Amount: -30})

	s, err := client.Deposit(t.Context(), "tenant-a", "42", "k1", 5)
	if want := (bank.Statement{Balance: 75, Sequence: 3}); err != nil || s != want {
		t.Errorf("deposit: got %+v and %v, want %+v", s, err, want)
	}
	s, err = client.Withdraw(t.Context(), "tenant-a", "42", "k2", 75)
	if want := (bank.Statement{Balance: 0, Sequence: 4}); err != nil || s != want {
		t.Errorf("withdraw: got %+v and %v, want %+v", s, err, want)
	}
	kit.Then("tenant-a/42", bank.Posted{Amount: 5}, bank.Posted{Amount: -75})

	s, err = client.Balance(t.Context(), "tenant-b", "42")
	if want := (bank.Statement{}); err != nil || s != want {
		t.Errorf("the same number of another tenant: got %+v and %v, want %+v", s, err, want)
	}
}

func TestAKeyWorksOnce(t *testing.T) {
	accounts := bank.NewAccounts()
	kit := persistencetest.New(t, accounts.Type)
	client := accounts.Client(kit)
	first, err := client.Deposit(t.Context(), "tenant-a", "1", "key", 10)
	if err != nil {
		t.Fatal(err)
	}
	// Far more commands than a window in memory would remember.
	others := make([]bank.Posted, 50)
	for i := range others {
		if _, err := client.Deposit(t.Context(), "tenant-a", "1", fmt.Sprintf("other-%d", i), 1); err != nil {
			t.Fatal(err)
		}
		others[i] = bank.Posted{Amount: 1}
	}
	again, err := client.Deposit(t.Context(), "tenant-a", "1", "key", 10)
	if err != nil || again != first {
		t.Errorf("repeat: got %+v and %v, want the first reply, %+v", again, err, first)
	}
	kit.Then("tenant-a/1", append([]bank.Posted{{Amount: 10}}, others...)...)
	for name, call := range map[string]func(context.Context) error{
		"another amount": func(ctx context.Context) error {
			_, err := client.Deposit(ctx, "tenant-a", "1", "key", 11)
			return err
		},
		"another command": func(ctx context.Context) error {
			_, err := client.Withdraw(ctx, "tenant-a", "1", "key", 10)
			return err
		},
	} {
		if err := call(t.Context()); sharding.CodeOf(err) != sharding.CommandReused {
			t.Errorf("%s under the key: got %v, want it refused as reused", name, err)
		}
	}
	kit.Then("tenant-a/1")
}

func TestRefusalsKeepTheirNames(t *testing.T) {
	accounts := bank.NewAccounts()
	kit := persistencetest.New(t, accounts.Type)
	client := accounts.Client(kit)
	if _, err := client.Withdraw(t.Context(), "tenant-a", "1", "k1", 1); !errors.Is(err, bank.ErrShortBalance) {
		t.Errorf("got %v, want ErrShortBalance", err)
	}
	kit.Given("tenant-a/1", bank.Posted{Amount: bank.MaxBalance})
	if _, err := client.Deposit(t.Context(), "tenant-a", "1", "k2", 1); !errors.Is(err, bank.ErrExcessBalance) {
		t.Errorf("got %v, want ErrExcessBalance", err)
	}
	if _, err := client.Deposit(t.Context(), "tenant-a", "1", "k3", -5); !errors.Is(err, bank.ErrAmount) {
		t.Errorf("got %v, want ErrAmount", err)
	}
	kit.Then("tenant-a/1")
}
