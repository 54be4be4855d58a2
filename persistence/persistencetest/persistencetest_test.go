package persistencetest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/persistencetest"
	"github.com/holdfast-go/holdfast/sharding"
)

type (
	account   struct{ Balance int }
	deposited struct{ Amount int }
)

var errAmount = sharding.Reject("amount-not-positive")

func (a account) apply(e deposited) account { a.Balance += e.Amount; return a }

func (a account) deposit(amount int) ([]deposited, error) {
	if amount <= 0 {
		return nil, errAmount
	}
	return []deposited{{amount}}, nil
}

func (a account) balance() int { return a.Balance }

func TestGivenWhenThen(t *testing.T) {
	accounts := persistence.NewType("account", account.apply)
	deposit := persistence.Handle(accounts, "deposit", account.deposit, account.balance)
	kit := persistencetest.New(t, accounts)

	kit.Given("a", deposited{10}, deposited{20})
	got, err := deposit.Ask(t.Context(), kit, "a", 5)
	if err != nil || got != 35 {
		t.Fatalf("got %d %v, want 35", got, err)
	}
	kit.Then("a", deposited{5})

	if _, err := deposit.Ask(t.Context(), kit, "a", -1); !errors.Is(err, errAmount) || sharding.CodeOf(err) != sharding.Rejected {
		t.Fatalf("got %v, want the refusal", err)
	}
	kit.Then("a")

	ctx := sharding.CommandID(t.Context(), "key")
	for range 2 {
		if got, err := deposit.Ask(ctx, kit, "a", 1); err != nil || got != 36 {
			t.Fatalf("got %d %v, want 36", got, err)
		}
	}
	kit.Then("a", deposited{1})
	kit.Given("a", deposited{4})
	if r := kit.State("a"); r.State.Balance != 40 || r.Seq != 5 {
		t.Fatalf("got %+v, want 40 at 5", r)
	}
	if err := deposit.Tell(t.Context(), kit, "b", 1); err != nil {
		t.Fatal(err)
	}
	kit.Then("b", deposited{1})
}

// recorder is a testing.TB that notes failures.
type recorder struct {
	testing.TB
	errs []string
}

func (r *recorder) Error(args ...any)            { r.errs = append(r.errs, fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.errs = append(r.errs, fmt.Sprintf(f, args...)) }

func TestAnApplyThatReadsTheClockIsFoundOut(t *testing.T) {
	type state struct{ At time.Time }
	typ := persistence.NewType("x", func(s state, _ deposited) state { s.At = time.Now(); return s })
	touch := persistence.Handle(typ, "touch", func(state, int) ([]deposited, error) { return []deposited{{}}, nil }, func(state) int { return 0 })
	r := &recorder{TB: t}
	if _, err := touch.Ask(t.Context(), persistencetest.New(r, typ), "a", 1); err != nil {
		t.Fatal(err)
	}
	if len(r.errs) == 0 || !strings.Contains(r.errs[0], "Apply must depend") {
		t.Errorf("got failures %q, want one about Apply", r.errs)
	}
}

func TestAStateThatItsCodecDoesNotCarryIsFoundOut(t *testing.T) {
	type state struct {
		Kept int
		Lost int `json:"-"`
	}
	typ := persistence.NewType("x", func(s state, e deposited) state { s.Lost += e.Amount; return s })
	touch := persistence.Handle(typ, "touch", func(state, int) ([]deposited, error) { return []deposited{{1}}, nil }, func(state) int { return 0 })
	r := &recorder{TB: t}
	if _, err := touch.Ask(t.Context(), persistencetest.New(r, typ), "a", 1); err != nil {
		t.Fatal(err)
	}
	if len(r.errs) == 0 || !strings.Contains(r.errs[0], "codec") {
		t.Errorf("got failures %q, want one about the codec", r.errs)
	}
}

func TestUnexpectedEventsFail(t *testing.T) {
	accounts := persistence.NewType("account", account.apply)
	deposit := persistence.Handle(accounts, "deposit", account.deposit, account.balance)
	r := &recorder{TB: t}
	kit := persistencetest.New(r, accounts)
	if _, err := deposit.Ask(t.Context(), kit, "a", 5); err != nil {
		t.Fatal(err)
	}
	kit.Then("a", deposited{6})
	kit.Then("a", deposited{5}) // accounted for already
	if len(r.errs) != 2 {
		t.Errorf("got failures %q, want 2", r.errs)
	}
}
