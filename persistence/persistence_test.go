package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// An account as the architecture page has it.
type (
	Account   struct{ Balance int }
	Deposited struct{ Amount int }
	Deposit   struct{ Amount int }
	Withdraw  struct{ Amount int }
	Balance   struct {
		Balance int
		Seq     uint64
	}
)

var (
	errAmount = sharding.Reject("amount-not-positive")
	errShort  = sharding.Reject("short-balance")
	errBroken = errors.New("broken")
)

func (a Account) Apply(e Deposited) Account {
	if e.Amount == 666 {
		panic("cannot apply 666")
	}
	a.Balance += e.Amount
	return a
}

func (a Account) Deposit(d Deposit) ([]Deposited, error) {
	switch {
	case d.Amount == 13:
		return nil, errBroken
	case d.Amount == 0:
		return nil, nil
	case d.Amount < 0:
		return nil, errAmount
	}
	return []Deposited{{d.Amount}}, nil
}

func (a Account) Withdraw(w Withdraw) ([]Deposited, error) {
	if w.Amount > a.Balance {
		return nil, fmt.Errorf("%w: %d missing", errShort, w.Amount-a.Balance)
	}
	return []Deposited{{-w.Amount}}, nil
}

func (a Account) Statement() Balance { return Balance{Balance: a.Balance} }

func (a Account) Read(struct{}) (Balance, error) { return a.Statement(), nil }

type bank struct {
	accounts *persistence.Type[Account, Deposited]
	deposit  sharding.Method[Deposit, Balance]
	withdraw sharding.Method[Withdraw, Balance]
	balance  sharding.Method[struct{}, Balance]
}

func newBank() *bank {
	b := &bank{accounts: persistence.NewType("account", Account.Apply)}
	b.deposit = persistence.Handle(b.accounts, "deposit", Account.Deposit, Account.Statement)
	b.withdraw = persistence.HandleResult(b.accounts, "withdraw",
		func(_ context.Context, r persistence.Result[Account], w Withdraw) ([]Deposited, error) {
			return r.State.Withdraw(w)
		},
		func(r persistence.Result[Account]) Balance { return Balance{r.State.Balance, r.Seq} })
	b.balance = persistence.Query(b.accounts, "balance", Account.Read)
	return b
}

// node hosts a type as a region does, one activation at a time.
type node struct {
	t     *testing.T
	name  string
	def   *sharding.Definition
	epoch uint64

	mu      sync.Mutex
	live    map[string]sharding.Behavior
	invalid bool
	stopped []error // causes given to StopShard
}

func newNode(t *testing.T, name string, typ persistence.Bindable, store journal.Journal, epoch uint64) *node {
	t.Helper()
	def := typ.BindStore(store, persistence.BindOptions{}).Definition().WithDefaults()
	if err := def.Validate(); err != nil {
		t.Fatal(err)
	}
	return &node{t: t, name: name, def: &def, epoch: epoch, live: map[string]sharding.Behavior{}}
}

func (n *node) shard(id string) int { return sharding.ShardOf(id, n.def.Shards) }

func (n *node) start(ctx context.Context, id string) (sharding.Behavior, error) {
	b := n.def.New()
	err := b.Start(ctx, &sharding.Activation{
		Type: n.def.Name, ID: id, Shard: n.shard(id), Generation: 1, Epoch: n.epoch, Node: n.name,
		Valid: func() bool { return !n.invalid },
		StopShard: func(cause error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.stopped = append(n.stopped, cause)
		},
	})
	return b, err
}

// passivate drops an entity from memory.
func (n *node) passivate(id string) { delete(n.live, id) }

// RouteAsk implements sharding.Router; panics become errors as in a region.
func (n *node) RouteAsk(ctx context.Context, _, id string, m *sharding.MethodDef, request any) (reply any, err error) {
	b := n.live[id]
	if b == nil {
		if b, err = n.start(ctx, id); err != nil {
			return nil, err
		}
		n.live[id] = b
	}
	defer func() {
		if r := recover(); r != nil {
			err = errors.Join(sharding.Errorf(sharding.Failed, "panic: %v", r), sharding.ErrStop)
		}
		if errors.Is(err, sharding.ErrStop) {
			n.passivate(id)
			err = withoutStop(err)
		}
	}()
	call := &sharding.Call{Method: m, Request: request}
	if key, ok := sharding.CommandIDFrom(ctx); ok {
		call.CommandID = key
		if call.Raw, err = m.EncodeRequest(request); err != nil {
			return nil, err
		}
	}
	return b.Handle(ctx, call)
}

// withoutStop takes ErrStop out of a joined error, as a region does.
func withoutStop(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		if e != sharding.ErrStop { //nolint:errorlint // the sentinel itself
			rest = append(rest, e)
		}
	}
	if len(rest) == 1 {
		return rest[0]
	}
	return errors.Join(rest...)
}

func (n *node) RouteTell(context.Context, string, string, *sharding.MethodDef, any) error {
	return errors.New("not used here")
}

// faulty is a store whose next append goes wrong on purpose.
type faulty struct {
	journal.Journal
	mu      sync.Mutex
	appends int
	claims  int
	read    int
	// fault replaces Append once; call runs the real one.
	fault func(ctx context.Context, call func() []journal.Result) []journal.Result
	claim func() error
}

func (f *faulty) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	f.mu.Lock()
	fault := f.fault
	f.fault = nil
	f.appends++
	f.mu.Unlock()
	if fault == nil {
		return f.Journal.Append(ctx, batch)
	}
	// A write in flight is not called back by its caller's ctx.
	return fault(ctx, func() []journal.Result { return f.Journal.Append(context.WithoutCancel(ctx), batch) })
}

func (f *faulty) Claim(ctx context.Context, s journal.Shard, generation, epoch uint64, owner string) (journal.Token, error) {
	f.mu.Lock()
	f.claims++
	claim := f.claim
	f.mu.Unlock()
	if claim != nil {
		if err := claim(); err != nil {
			return journal.Token{}, err
		}
	}
	return f.Journal.Claim(ctx, s, generation, epoch, owner)
}

func (f *faulty) Read(ctx context.Context, s journal.Stream, after uint64, limit int) (journal.Page, error) {
	page, err := f.Journal.Read(ctx, s, after, limit)
	f.mu.Lock()
	f.read += len(page.Events)
	f.mu.Unlock()
	return page, err
}

func failWith(err error) func(context.Context, func() []journal.Result) []journal.Result {
	return func(context.Context, func() []journal.Result) []journal.Result { return []journal.Result{{Err: err}} }
}

func (b *bank) wantBalance(t *testing.T, n *node, id string, want int) {
	t.Helper()
	got, err := b.balance.Ask(t.Context(), n, id, struct{}{})
	if err != nil || got.Balance != want {
		t.Fatalf("balance of %s: got %+v %v, want %d", id, got, err, want)
	}
}

func (b *bank) mustDeposit(t *testing.T, n *node, id string, amount, want int) {
	t.Helper()
	got, err := b.deposit.Ask(t.Context(), n, id, Deposit{amount})
	if err != nil || got.Balance != want {
		t.Fatalf("deposit to %s: got %+v %v, want %d", id, got, err, want)
	}
}

func wantCode(t *testing.T, err error, want sharding.Code) {
	t.Helper()
	if got := sharding.CodeOf(err); got != want {
		t.Fatalf("got code %q of %v, want %q", got, err, want)
	}
}

func TestAnEntityIsItsHistory(t *testing.T) {
	b, store := newBank(), memory.New()
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 100, 100)
	b.mustDeposit(t, n, "a", 50, 150)
	got, err := b.withdraw.Ask(t.Context(), n, "a", Withdraw{30})
	if err != nil || got != (Balance{120, 3}) {
		t.Fatalf("withdraw: got %+v %v, want 120 at 3", got, err)
	}
	n.passivate("a")
	b.wantBalance(t, n, "a", 120)
	b.wantBalance(t, newNode(t, "node-2", b.accounts, store, 2), "a", 120)
	b.wantBalance(t, n, "b", 0)
}

func TestARefusalWithoutAnIDLeavesNoTrace(t *testing.T) {
	b := newBank()
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	_, err := b.withdraw.Ask(t.Context(), n, "a", Withdraw{30})
	if !errors.Is(err, errShort) || n.live["a"] == nil {
		t.Fatalf("got %v, want errShort and the entity alive", err)
	}
	b.mustDeposit(t, n, "a", 0, 0) // accepted, and no event
	if store.appends != 0 {
		t.Errorf("got %d appends, want none", store.appends)
	}
}

func TestARepeatedCommandGetsItsFirstReply(t *testing.T) {
	b, store := newBank(), memory.New()
	n := newNode(t, "node-1", b.accounts, store, 1)
	ctx := sharding.CommandID(t.Context(), "key")
	deposit := func(r sharding.Router) {
		t.Helper()
		got, err := b.deposit.Ask(ctx, r, "a", Deposit{100})
		if err != nil || got.Balance != 100 {
			t.Fatalf("got %+v %v, want the first reply, 100", got, err)
		}
	}
	deposit(n)
	b.mustDeposit(t, n, "a", 1, 101)
	deposit(n) // from memory
	for i := range 20 {
		if _, err := b.deposit.Ask(sharding.CommandID(t.Context(), fmt.Sprint(i)), n, "a", Deposit{1}); err != nil {
			t.Fatal(err)
		}
	}
	deposit(n) // from the journal, by the same activation
	n.passivate("a")
	deposit(n)                                          // by the next one
	deposit(newNode(t, "node-2", b.accounts, store, 2)) // by another node after a failover
	b.wantBalance(t, newNode(t, "node-3", b.accounts, store, 3), "a", 121)
}

func TestARepeatOfACommandThatNowFailsGetsItsFirstReply(t *testing.T) {
	b, store := newBank(), memory.New()
	broken := persistence.NewType("account", Account.Apply)
	m := persistence.Handle(broken, "deposit",
		func(Account, Deposit) ([]Deposited, error) { return nil, errBroken }, Account.Statement)
	ctx := sharding.CommandID(t.Context(), "key")
	if _, err := b.deposit.Ask(ctx, newNode(t, "node-1", b.accounts, store, 1), "a", Deposit{100}); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, "node-2", broken, store, 2)
	got, err := m.Ask(ctx, n, "a", Deposit{100})
	if err != nil || got.Balance != 100 {
		t.Fatalf("got %+v %v, want the first reply, 100", got, err)
	}
	if _, err := m.Ask(t.Context(), n, "a", Deposit{100}); !errors.Is(err, errBroken) {
		t.Fatalf("without an id: got %v, want the failure", err)
	}
}

func TestARefusalOfACommandWithAnIDStands(t *testing.T) {
	b, store := newBank(), memory.New()
	n := newNode(t, "node-1", b.accounts, store, 1)
	ctx := sharding.CommandID(t.Context(), "key")
	refused := func(r sharding.Router) {
		t.Helper()
		_, err := b.withdraw.Ask(ctx, r, "a", Withdraw{30})
		if refusal, ok := sharding.AsRefusal(err); !ok || !errors.Is(err, errShort) || refusal.Text != "short-balance: 30 missing" {
			t.Fatalf("got %v, want the first refusal", err)
		}
	}
	refused(n)
	b.mustDeposit(t, n, "a", 100, 100) // enough by now
	refused(n)
	n.passivate("a")
	refused(n)
	refused(newNode(t, "node-2", b.accounts, store, 2))
}

func TestACommandWithoutEventsIsRecordedWhenItHasAnID(t *testing.T) {
	b, store := newBank(), memory.New()
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 5, 5)
	ctx := sharding.CommandID(t.Context(), "key")
	for range 2 {
		got, err := b.deposit.Ask(ctx, n, "a", Deposit{0})
		if err != nil || got.Balance != 5 {
			t.Fatalf("got %+v %v, want 5", got, err)
		}
		b.mustDeposit(t, n, "a", 1, n.balance(b)+1)
		n.passivate("a")
	}
}

func (n *node) balance(b *bank) int {
	n.t.Helper()
	got, err := b.balance.Ask(n.t.Context(), n, "a", struct{}{})
	if err != nil {
		n.t.Fatal(err)
	}
	return got.Balance
}

func TestACommandIDUsedForSomethingElseIsRefused(t *testing.T) {
	b, store := newBank(), memory.New()
	n := newNode(t, "node-1", b.accounts, store, 1)
	ctx := sharding.CommandID(t.Context(), "key")
	if _, err := b.deposit.Ask(ctx, n, "a", Deposit{100}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // from memory, then from the journal
		_, err := b.deposit.Ask(ctx, n, "a", Deposit{101})
		wantCode(t, err, sharding.CommandReused)
		_, err = b.withdraw.Ask(ctx, n, "a", Withdraw{100}) // the same bytes, another method
		wantCode(t, err, sharding.CommandReused)
		n.passivate("a")
	}
	b.wantBalance(t, n, "a", 100)
	if _, err := b.deposit.Ask(ctx, n, "b", Deposit{7}); err != nil {
		t.Fatalf("the id at another entity: got %v, want no error", err)
	}
}

func TestAPanicWritesNothing(t *testing.T) {
	b := newBank()
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 1, 1)
	_, err := b.deposit.Ask(t.Context(), n, "a", Deposit{666}) // Apply panics
	wantCode(t, err, sharding.Failed)
	if store.appends != 1 {
		t.Errorf("got %d appends, want only the first", store.appends)
	}
	b.mustDeposit(t, n, "a", 1, 2)
	_, err = b.deposit.Ask(t.Context(), n, "a", Deposit{13})
	if !errors.Is(err, errBroken) || n.live["a"] != nil {
		t.Errorf("got %v, want the failure and the entity dropped", err)
	}
	b.wantBalance(t, n, "a", 2)
}
