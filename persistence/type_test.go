package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// A to-do list with events of several types.
type (
	List struct{ Items []string }

	ListEvent interface{ listEvent() }
	Opened    struct{ Owner string }
	Added     struct{ Text string }
	AddedV2   struct {
		Text     string
		Priority int
	}
)

func (Opened) listEvent()  {}
func (Added) listEvent()   {}
func (AddedV2) listEvent() {}

func (l List) Apply(e ListEvent) List {
	switch e := e.(type) {
	case Added:
		l.Items = append(slices.Clip(l.Items), e.Text)
	case AddedV2:
		l.Items = append(slices.Clip(l.Items), fmt.Sprintf("%s!%d", e.Text, e.Priority))
	}
	return l
}

func contains(err error, parts ...string) bool {
	if err == nil {
		return false
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			return false
		}
	}
	return true
}

func items(l List, _ struct{}) ([]string, error) { return l.Items, nil }

func TestEventsOfSeveralTypesKeepTheirWireNames(t *testing.T) {
	store := memory.New()
	lists := persistence.NewType("list", List.Apply)
	persistence.Event[Opened](lists, "opened")
	persistence.Event[Added](lists, "added")
	add := persistence.Handle(lists, "add", func(l List, text string) ([]ListEvent, error) {
		if len(l.Items) == 0 {
			return []ListEvent{Opened{"me"}, Added{text}}, nil
		}
		return []ListEvent{Added{text}}, nil
	}, func(l List) int { return len(l.Items) })
	n := newNode(t, "node-1", lists, store, 1)
	for i, text := range []string{"x", "y"} {
		if got, err := add.Ask(t.Context(), n, "a", text); err != nil || got != i+1 {
			t.Fatalf("got %d %v, want %d", got, err, i+1)
		}
	}
	page, err := store.Read(t.Context(), journal.Stream{Shard: journal.Shard{Type: "list"}, ID: "a"}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range page.Events {
		names = append(names, fmt.Sprintf("%s/%d %s", e.Type, e.Version, e.Payload))
	}
	if got, want := strings.Join(names, "; "), `opened/1 {"Owner":"me"}; added/1 {"Text":"x"}; added/1 {"Text":"y"}`; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}

	// The next version of the program reads what this one wrote.
	next := persistence.NewType("list", List.Apply)
	persistence.Event[Opened](next, "opened")
	persistence.EventVersion(next, "added", 2, func(version uint16, payload []byte) (AddedV2, error) {
		var old Added
		err := sharding.DefaultCodec{}.Unmarshal(payload, &old)
		return AddedV2{Text: old.Text, Priority: int(version)}, err
	})
	addNext := persistence.Handle(next, "add", func(_ List, text string) ([]ListEvent, error) {
		return []ListEvent{AddedV2{Text: text, Priority: 7}}, nil
	}, func(l List) string { return strings.Join(l.Items, " ") })
	n2 := newNode(t, "node-2", next, store, 2)
	if got, err := addNext.Ask(t.Context(), n2, "a", "z"); err != nil || got != "x!1 y!1 z!7" {
		t.Fatalf("got %q %v, want the old events upcast and the new one", got, err)
	}

	// This version does not read what the next one wrote, and says so.
	_, err = newNode(t, "node-3", lists, store, 3).start(t.Context(), "a")
	if !contains(err, "event 4", `"added"`, "version 2", "update the program") {
		t.Fatalf("got %v, want it to name event, version and remedy", err)
	}
}

func TestAnEventWithoutANameIsNotWritten(t *testing.T) {
	store := &faulty{Journal: memory.New()}
	lists := persistence.NewType("list", List.Apply)
	persistence.Event[Opened](lists, "opened")
	add := persistence.Handle(lists, "add",
		func(_ List, text string) ([]ListEvent, error) { return []ListEvent{Added{text}}, nil },
		func(List) int { return 0 })
	_, err := add.Ask(t.Context(), newNode(t, "node-1", lists, store, 1), "a", "x")
	wantCode(t, err, sharding.Failed)
	if !contains(err, "Added", "give it one with Event") || store.appends != 0 {
		t.Fatalf("got %v and %d appends, want it to name the type, and none", err, store.appends)
	}
}

func TestATypeReportsEveryProblemAtOnce(t *testing.T) {
	lists := persistence.NewType[List, ListEvent]("list", nil)
	lists.SnapshotVersion = -1
	lists.AppendTimeout = -1
	persistence.Event[Opened](lists, "opened")
	persistence.Event[Opened](lists, "opened-again")
	persistence.Event[Added](lists, "opened")
	persistence.Event[List](lists, "list")
	persistence.Event[Added](lists, "")
	persistence.EventVersion[Added](lists, "added", 0, nil)
	persistence.Query(lists, "items", items)
	persistence.Query(lists, "items", items)
	persistence.Query[List, ListEvent, int, int](lists, "nil", nil)
	persistence.Handle[List, ListEvent, int, int](lists, "nil too", nil, nil)
	def := lists.BindStore(memory.New(), persistence.BindOptions{}).Definition().WithDefaults()
	err := def.Validate()
	for _, want := range []string{
		"apply is nil", "SnapshotVersion", "AppendTimeout", "named twice", "used twice", "is not one of the events",
		"1 to 128 bytes", "versions begin at 1", `"items" is defined twice`, `"nil" lacks`, `"nil too" lacks`,
	} {
		if !contains(err, want) {
			t.Errorf("got %v, want it to mention %q", err, want)
		}
	}
	none := persistence.NewType("list", List.Apply)
	persistence.Query(none, "items", items)
	def = none.BindStore(memory.New(), persistence.BindOptions{}).Definition().WithDefaults()
	if err := def.Validate(); !contains(err, "none is named") {
		t.Errorf("events without a name: got %v", err)
	}
}

func TestFieldsThatJSONWouldLoseAreAProblem(t *testing.T) {
	type inner struct{ secret int }
	type state struct{ Inner []inner }
	type event struct{ amount int }
	type request struct{ text string }
	sample := func() *persistence.Type[state, event] {
		typ := persistence.NewType("x", func(s state, e event) state { return s })
		persistence.Query(typ, "q", func(s state, q request) (int, error) { return len(q.text), nil })
		return typ
	}
	validate := func(typ *persistence.Type[state, event]) error {
		def := typ.BindStore(memory.New(), persistence.BindOptions{}).Definition().WithDefaults()
		return def.Validate()
	}
	if err := validate(sample()); !contains(err, "Inner.secret", "amount", "text", "export it") {
		t.Errorf("got %v, want every field named", err)
	}
	typ := sample()
	typ.SnapshotEvery = -1
	if err := validate(typ); contains(err, "secret") || !contains(err, "amount") {
		t.Errorf("without snapshots: got %v, want only the event's and the request's field", err)
	}
	typ = sample()
	typ.Codec = sharding.DefaultCodec{}
	if err := validate(typ); err != nil {
		t.Errorf("with a codec of its own: got %v, want none", err)
	}
	_, _, _ = inner{}.secret, event{}.amount, request{}.text
}

func TestATypeWithoutAStoreSaysWhatIsMissing(t *testing.T) {
	b := newBank()
	for name, entity := range map[string]sharding.Entity{
		"not bound":        b.accounts,
		"bound to nothing": b.accounts.BindStore(nil, persistence.BindOptions{}),
	} {
		def := entity.Definition().WithDefaults()
		if err := def.Validate(); !contains(err, `"account"`, "give the node a store") {
			t.Errorf("%s: got %v, want the remedy", name, err)
		}
		if err := def.New().Start(t.Context(), &sharding.Activation{}); err == nil {
			t.Errorf("%s: Start: got no error", name)
		}
	}
}

func TestNodesOfOneProcessShareATypeWithTheirOwnStores(t *testing.T) {
	b := newBank()
	n1 := newNode(t, "node-1", b.accounts, memory.New(), 1)
	n2 := newNode(t, "node-2", b.accounts, memory.New(), 1)
	b.mustDeposit(t, n1, "a", 1, 1)
	b.mustDeposit(t, n2, "a", 2, 2)
	b.wantBalance(t, n1, "a", 1)
}

func TestReplayBeginsAtTheSnapshot(t *testing.T) {
	b := newBank()
	b.accounts.SnapshotEvery = 10
	mem := memory.New()
	n := newNode(t, "node-1", b.accounts, mem, 1)
	for i := range 25 {
		b.mustDeposit(t, n, "a", 1, i+1)
	}
	replayed := func(typ persistence.Bindable, epoch uint64) int {
		t.Helper()
		store := &faulty{Journal: mem}
		b.wantBalance(t, newNode(t, "node-2", typ, store, epoch), "a", 25)
		return store.read
	}
	if got := replayed(b.accounts, 2); got != 5 {
		t.Errorf("got %d events replayed, want the 5 after the snapshot", got)
	}
	b.accounts.SnapshotVersion = 1
	if got := replayed(b.accounts, 3); got != 25 {
		t.Errorf("after a change of Apply: got %d events replayed, want all 25", got)
	}
	b.accounts.SnapshotVersion = 0
	b.accounts.SnapshotEvery = -1
	if got := replayed(b.accounts, 4); got != 25 {
		t.Errorf("without snapshots: got %d events replayed, want all 25", got)
	}
	b.accounts.SnapshotEvery = 10
	for _, payload := range []string{"", "\x01", "\x01\x00{", "\x09\x00{}", "\x01\x00[]"} {
		sh := journal.Shard{Type: "account", Index: n.shard("a")}
		tok, err := mem.Claim(t.Context(), sh, 1, 4, "n")
		if err != nil {
			t.Fatal(err)
		}
		r := mem.Append(t.Context(), []journal.Append{{
			Stream: journal.Stream{Shard: sh, ID: "a"}, Token: tok, Expected: 25,
			Snapshot: &journal.Snapshot{Seq: 20, Payload: []byte(payload)},
		}})
		if r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		if got := replayed(b.accounts, 4); got != 25 {
			t.Errorf("snapshot %q: got %d events replayed, want all 25", payload, got)
		}
	}
}

func TestHistoryReadsEventsFromTheStore(t *testing.T) {
	b, store := newBank(), memory.New()
	n := newNode(t, "node-1", b.accounts, store, 1)
	for i := range 5 {
		b.mustDeposit(t, n, "a", i+1, (i+1)*(i+2)/2)
	}
	var got []string
	for rec, err := range b.accounts.History(t.Context(), store, "a", 2) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Time.IsZero() {
			t.Error("an event has no time")
		}
		if got = append(got, fmt.Sprint(rec.Seq, rec.Event.Amount)); len(got) == 2 {
			break
		}
	}
	if strings.Join(got, ",") != "3 3,4 4" {
		t.Errorf("got %v, want the third and fourth", got)
	}
	r, err := b.accounts.Load(t.Context(), store, "a")
	if err != nil || r.State.Balance != 15 || r.Seq != 5 || r.ID != "a" {
		t.Errorf("Load: got %+v %v, want 15 at 5", r, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range b.accounts.History(ended, store, "a", 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
}

// TestAnEntityInMemoryIsSmall measures what persistence adds to an idle entity.
func TestAnEntityInMemoryIsSmall(t *testing.T) {
	b := newBank()
	n := newNode(t, "node-1", b.accounts, memory.New(), 1)
	const entities = 20_000
	a := &sharding.Activation{
		Type: "account", ID: "a", Shard: n.shard("a"), Generation: 1, Epoch: 1,
		Valid: func() bool { return true }, StopShard: func(error) {},
	}
	live := make([]sharding.Behavior, entities)
	measure := func() int64 {
		for range 3 { // pools of earlier tests need more than one
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := measure()
	for i := range live {
		live[i] = n.def.New()
		if err := live[i].Start(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	size := (measure() - before) / entities
	t.Logf("%d bytes per entity, without its activation", size)
	if size > 128 {
		t.Errorf("got %d bytes per entity, want at most 128", size)
	}
	runtime.KeepAlive(live)
}
