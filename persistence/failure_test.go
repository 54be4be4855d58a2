package persistence_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

func TestAFencedAppendStopsTheShard(t *testing.T) {
	b, store := newBank(), memory.New()
	old := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, old, "a", 10, 10)
	cur := newNode(t, "node-2", b.accounts, store, 2)
	b.mustDeposit(t, cur, "a", 5, 15)

	for _, ctx := range []context.Context{t.Context(), sharding.CommandID(t.Context(), "key")} {
		old.stopped = nil
		_, err := b.deposit.Ask(ctx, old, "a", Deposit{1})
		wantCode(t, err, sharding.Unavailable)
		var fenced *journal.FencedError
		if len(old.stopped) != 1 || !errors.As(old.stopped[0], &fenced) || fenced.Current.Epoch != 2 {
			t.Fatalf("got StopShard calls %v, want one with the newer epoch", old.stopped)
		}
		if old.live["a"] != nil {
			t.Error("the entity is still in memory")
		}
	}
	b.wantBalance(t, cur, "a", 15)

	late := newNode(t, "node-3", b.accounts, store, 1)
	_, err := b.balance.Ask(t.Context(), late, "a", struct{}{})
	if sharding.CodeOf(err) != sharding.Unavailable || len(late.stopped) != 1 {
		t.Fatalf("start after the fence: got %v and StopShard calls %v, want unavailable and one", err, late.stopped)
	}
}

func TestAConflictLoadsTheEntityAgain(t *testing.T) {
	b := newBank()
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 10, 10)
	store.fault = failWith(&journal.ConflictError{Expected: 1, Actual: 2})
	_, err := b.deposit.Ask(t.Context(), n, "a", Deposit{1})
	wantCode(t, err, sharding.Unavailable)
	if n.live["a"] != nil || len(n.stopped) != 0 {
		t.Error("want the entity dropped and the shard kept")
	}
	b.mustDeposit(t, n, "a", 1, 11)
}

func TestAnUnavailableStoreMeansNotRun(t *testing.T) {
	b := newBank()
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 10, 10)
	for _, cause := range []error{journal.ErrUnavailable, journal.ErrClosed} {
		store.fault = failWith(cause)
		_, err := b.deposit.Ask(t.Context(), n, "a", Deposit{1})
		wantCode(t, err, sharding.Unavailable)
	}
	store.fault = failWith(&journal.TooLargeError{What: "event", Size: 2, Limit: 1})
	_, err := b.deposit.Ask(t.Context(), n, "a", Deposit{1})
	wantCode(t, err, sharding.TooLarge)
	store.fault = failWith(&journal.InvalidError{Field: "event type", Reason: "must not be empty"})
	_, err = b.deposit.Ask(t.Context(), n, "a", Deposit{1})
	wantCode(t, err, sharding.Failed)
	b.wantBalance(t, n, "a", 10)
}

func TestAWriteInDoubtMayHaveRunAndIsSettledByTheNextActivation(t *testing.T) {
	for _, written := range []bool{true, false} {
		b := newBank()
		store := &faulty{Journal: memory.New()}
		n := newNode(t, "node-1", b.accounts, store, 1)
		b.mustDeposit(t, n, "a", 10, 10)
		var late func() []journal.Result
		store.fault = func(_ context.Context, call func() []journal.Result) []journal.Result {
			if written {
				call()
			} else {
				late = call // still on its way
			}
			return []journal.Result{{Err: journal.ErrUnknown}}
		}
		ctx := sharding.CommandID(t.Context(), "key")
		_, err := b.deposit.Ask(ctx, n, "a", Deposit{1})
		if !sharding.MayHaveRun(err) || n.live["a"] != nil {
			t.Fatalf("written %v: got %v, want one that may have run and the entity dropped", written, err)
		}
		want := 10
		if written {
			want = 11
		}
		b.wantBalance(t, n, "a", want)
		if late != nil {
			// The next activation has fenced it: it can no longer be written.
			var fenced *journal.FencedError
			if r := late(); !errors.As(r[0].Err, &fenced) {
				t.Fatalf("the late write: got %+v, want it fenced", r[0])
			}
		}
		got, err := b.deposit.Ask(ctx, n, "a", Deposit{1})
		if err != nil || got.Balance != 11 {
			t.Fatalf("written %v: repeat: got %+v %v, want 11", written, got, err)
		}
		b.wantBalance(t, n, "a", 11)
	}
}

func TestOtherEntitiesGoOnWhenTheShardWasClaimedAgain(t *testing.T) {
	b := newBank()
	b.accounts.Shards = 1
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 10, 10)
	b.mustDeposit(t, n, "b", 20, 20)
	claimAgain := func() {
		store.fault = failWith(journal.ErrUnknown)
		if _, err := b.deposit.Ask(t.Context(), n, "a", Deposit{1}); !sharding.MayHaveRun(err) {
			t.Errorf("got %v, want one that may have run", err)
		}
		b.wantBalance(t, n, "a", 10)
	}
	// A write of b passes a claim on its way to the store.
	store.fault = func(_ context.Context, call func() []journal.Result) []journal.Result {
		claimAgain()
		return call()
	}
	b.mustDeposit(t, n, "b", 1, 21)
	b.mustDeposit(t, n, "b", 1, 22)
	b.mustDeposit(t, n, "a", 1, 11)
	if len(n.stopped) != 0 {
		t.Errorf("got StopShard calls %v, want none", n.stopped)
	}
	if store.claims != 2 {
		t.Errorf("got %d claims, want 2", store.claims)
	}
}

func TestNothingIsWrittenOrSaidWithoutTheRight(t *testing.T) {
	b := newBank()
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 10, 10)
	key := sharding.CommandID(t.Context(), "key")
	if _, err := b.deposit.Ask(key, n, "a", Deposit{1}); err != nil {
		t.Fatal(err)
	}
	n.invalid = true
	for name, call := range map[string]func() error{
		"command":               func() error { _, err := b.deposit.Ask(t.Context(), n, "a", Deposit{1}); return err },
		"command without event": func() error { _, err := b.deposit.Ask(t.Context(), n, "a", Deposit{0}); return err },
		"refusal":               func() error { _, err := b.withdraw.Ask(t.Context(), n, "a", Withdraw{99}); return err },
		"refusal with id": func() error {
			_, err := b.withdraw.Ask(sharding.CommandID(t.Context(), "other"), n, "a", Withdraw{99})
			return err
		},
		"repeat": func() error { _, err := b.deposit.Ask(key, n, "a", Deposit{1}); return err },
		"query":  func() error { _, err := b.balance.Ask(t.Context(), n, "a", struct{}{}); return err },
	} {
		if err := call(); sharding.CodeOf(err) != sharding.Unavailable || sharding.MayHaveRun(err) {
			t.Errorf("%s: got %v, want unavailable", name, err)
		}
	}
	if store.appends != 2 {
		t.Errorf("got %d appends, want the first two", store.appends)
	}
	n.invalid = false
	store.fault = func(_ context.Context, call func() []journal.Result) []journal.Result {
		n.invalid = true // lost while the write is under way
		return call()
	}
	_, err := b.deposit.Ask(t.Context(), n, "a", Deposit{1})
	if !sharding.MayHaveRun(err) {
		t.Errorf("lost while writing: got %v, want one that may have run", err)
	}
}

func TestTheCallersDeadlineDoesNotCutAWriteOff(t *testing.T) {
	b := newBank()
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", b.accounts, store, 1)
	ctx, cancel := context.WithCancel(t.Context())
	store.fault = func(appendCtx context.Context, call func() []journal.Result) []journal.Result {
		cancel()
		if err := appendCtx.Err(); err != nil {
			t.Errorf("the append's ctx: got %v, want it alive", err)
		}
		if _, ok := appendCtx.Deadline(); !ok {
			t.Error("the append has no deadline")
		}
		return call()
	}
	got, err := b.deposit.Ask(ctx, n, "a", Deposit{5})
	if err != nil || got.Balance != 5 {
		t.Fatalf("got %+v %v, want 5", got, err)
	}
	_, err = b.deposit.Ask(ctx, n, "a", Deposit{5}) // ended before it began
	wantCode(t, err, sharding.Unavailable)
	b.wantBalance(t, n, "a", 5)
}

func TestOneClaimServesAllEntitiesOfAShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank()
		b.accounts.Shards = 1
		store := &faulty{Journal: memory.New()}
		store.claim = func() error {
			<-time.After(time.Second) // until all wait for it
			store.mu.Lock()
			defer store.mu.Unlock()
			if store.claims == 1 {
				return journal.ErrUnavailable
			}
			return nil
		}
		n := newNode(t, "node-1", b.accounts, store, 1)
		const entities = 50
		errs := make([]error, entities)
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		for i := range entities {
			wg.Go(func() { _, errs[i] = n.start(t.Context(), string(rune('a'+i))) })
		}
		wg.Go(func() {
			synctest.Wait() // behind the others
			_, err := n.start(impatient, "impatient")
			if sharding.CodeOf(err) != sharding.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient start: got %v, want unavailable after its own deadline", err)
			}
		})
		wg.Wait()
		failed := 0
		for _, err := range errs {
			if err != nil {
				failed++
				wantCode(t, err, sharding.Unavailable)
			}
		}
		if failed != 1 || store.claims != 2 {
			t.Fatalf("got %d failed starts and %d claims, want 1 and 2", failed, store.claims)
		}
		n.epoch = 2
		b.wantBalance(t, n, "z", 0)
		if store.claims != 3 {
			t.Fatalf("got %d claims, want another one for the new epoch", store.claims)
		}
	})
}

func TestAnApplyThatChangesMapsInPlaceIsUndoneByLoadingAgain(t *testing.T) {
	type state struct{ Counts map[string]int }
	typ := persistence.NewType("counts", func(s state, key string) state {
		if s.Counts == nil {
			s.Counts = map[string]int{}
		}
		s.Counts[key]++
		return s
	})
	count := persistence.Handle(typ, "count",
		func(_ state, key string) ([]string, error) { return []string{key}, nil },
		func(s state) int { return s.Counts["x"] })
	read := persistence.Query(typ, "read", func(s state, key string) (int, error) { return s.Counts[key], nil })
	store := &faulty{Journal: memory.New()}
	n := newNode(t, "node-1", typ, store, 1)
	want := func(what string, want int) {
		t.Helper()
		if got, err := read.Ask(t.Context(), n, "a", "x"); err != nil || got != want {
			t.Fatalf("after %s: got %d %v, want %d", what, got, err, want)
		}
	}
	key := sharding.CommandID(t.Context(), "key")
	if _, err := count.Ask(key, n, "a", "x"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"unavailable": journal.ErrUnavailable,
		"too large":   &journal.TooLargeError{What: "event"},
		"invalid":     &journal.InvalidError{Field: "event", Reason: "is wrong"},
		"in doubt":    journal.ErrUnknown,
		"conflict":    &journal.ConflictError{},
	} {
		store.fault = failWith(err)
		if _, err := count.Ask(t.Context(), n, "a", "x"); err == nil {
			t.Fatalf("%s: got no error", name)
		}
		want(name, 1)
	}
	n.passivate("a")
	if got, err := count.Ask(key, n, "a", "x"); err != nil || got != 1 {
		t.Fatalf("repeat: got %d %v, want 1", got, err)
	}
	want("a repeat", 1)
}

func TestAStartThatCannotReadSaysSo(t *testing.T) {
	b, store := newBank(), memory.New()
	other := persistence.NewType("account", func(s Account, _ Opened) Account { return s })
	persistence.Event[Opened](other, "opened")
	persistence.Query(other, "q", func(Account, struct{}) (int, error) { return 0, nil })
	n := newNode(t, "node-1", b.accounts, store, 1)
	b.mustDeposit(t, n, "a", 1, 1)
	_, err := newNode(t, "node-2", other, store, 2).start(t.Context(), "a")
	wantCode(t, err, sharding.Unavailable)
	if !errors.Is(err, err) || !contains(err, `"event"`, "name it with Event") {
		t.Errorf("got %v, want it to name the event and the remedy", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = newNode(t, "node-3", b.accounts, store, 3).start(t.Context(), "a")
	wantCode(t, err, sharding.Unavailable)
	if !errors.Is(err, journal.ErrClosed) {
		t.Errorf("got %v, want ErrClosed in it", err)
	}
}
