package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// Open returns a handle on one set of data. Each call may return another
// handle on the same data, as another node would open it, or the same one.
// The suite closes what it gets.
type Open func(t *testing.T) journal.Journal

// Run runs the suite. fresh returns the Open of new, empty data.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"a stream reads back what was appended", readsBack},
		{"the time of an append defaults to now", defaultsTime},
		{"an append at the wrong place conflicts and writes nothing", conflicts},
		{"an unclaimed shard accepts no append", unclaimed},
		{"an older epoch cannot claim or append", staleEpoch},
		{"an older generation cannot claim or append", staleGeneration},
		{"the same epoch claimed twice fences the first token", staleActivation},
		{"a token that was never granted is fenced", inventedToken},
		{"shards and types are fenced apart", fencesApart},
		{"a refused append leaves its group alone", partialGroup},
		{"a large batch keeps its order", largeBatch},
		{"a command without events is recorded", commandOnly},
		{"a duplicate command returns the record and writes nothing", duplicate},
		{"command ids are apart for each stream", commandsApart},
		{"a stale token learns of the fence before the duplicate", fenceBeforeDuplicate},
		{"a snapshot is replaced and kept apart", snapshots},
		{"a refused append leaves the snapshot and the command alone", refusedWhole},
		{"pages follow each other without gap", pages},
		{"a page of large events ends early", largePage},
		{"an event at the bound is kept and one over it refused", eventBound},
		{"malformed appends are refused before they are written", malformed},
		{"what was read or passed may be changed by the caller", noAliasing},
		{"an ended context writes nothing", endedContext},
		{"a claim races with appends and wins for good", claimRace},
		{"concurrent appends to one place have one winner", appendRace},
		{"the arbiter row starts empty and is swapped by version", arbiter},
		{"concurrent swaps of the arbiter row have one winner", arbiterRace},
		{"another handle sees what was written", otherHandle},
		{"a closed store refuses everything", closed},
		{"closing while appending loses nothing acknowledged", closeRace},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, fresh(t)) })
	}
}

func shard(index int) journal.Shard { return journal.Shard{Type: "account", Index: index} }

func stream(id string) journal.Stream { return journal.Stream{Shard: shard(0), ID: id} }

func handle(t *testing.T, open Open) journal.Journal {
	t.Helper()
	j := open(t)
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

func claim(t *testing.T, j journal.Journal, sh journal.Shard, generation, epoch uint64) journal.Token {
	t.Helper()
	tok, err := j.Claim(t.Context(), sh, generation, epoch, "node-1")
	if err != nil {
		t.Fatalf("Claim(%v, %d, %d): %v", sh, generation, epoch, err)
	}
	if tok.Generation != generation || tok.Epoch != epoch || tok.Activation == 0 {
		t.Fatalf("Claim(%v, %d, %d): got token %+v", sh, generation, epoch, tok)
	}
	return tok
}

func event(text string) journal.Event {
	return journal.Event{Type: "noted", Version: 1, Payload: []byte(text)}
}

func add(tok journal.Token, id string, expected uint64, events ...string) journal.Append {
	a := journal.Append{Stream: stream(id), Token: tok, Expected: expected, Time: time.Now()}
	for _, e := range events {
		a.Events = append(a.Events, event(e))
	}
	return a
}

func one(ctx context.Context, j journal.Journal, a journal.Append) (uint64, error) {
	r := j.Append(ctx, []journal.Append{a})
	if len(r) != 1 {
		return 0, fmt.Errorf("got %d results for one append", len(r))
	}
	return r[0].Seq, r[0].Err
}

func mustAppend(t *testing.T, j journal.Journal, a journal.Append) {
	t.Helper()
	seq, err := one(t.Context(), j, a)
	if err != nil {
		t.Fatalf("append to %s at %d: %v", a.Stream.ID, a.Expected, err)
	}
	if want := a.Expected + uint64(len(a.Events)); seq != want {
		t.Fatalf("append to %s: got seq %d, want %d", a.Stream.ID, seq, want)
	}
}

// texts reads a whole stream and checks that it has no gap.
func texts(t *testing.T, j journal.Journal, id string) []string {
	t.Helper()
	var out []string
	for {
		page, err := j.Read(t.Context(), stream(id), uint64(len(out)), 0)
		if err != nil {
			t.Fatalf("Read(%s): %v", id, err)
		}
		for _, r := range page.Events {
			if want := uint64(len(out)) + 1; r.Seq != want {
				t.Fatalf("Read(%s): got seq %d, want %d", id, r.Seq, want)
			}
			out = append(out, string(r.Payload))
		}
		if !page.More {
			return out
		}
	}
}

func wantTexts(t *testing.T, j journal.Journal, id string, want ...string) {
	t.Helper()
	if got := texts(t, j, id); strings.Join(got, ",") != strings.Join(want, ",") {
		t.Fatalf("stream %s: got %q, want %q", id, got, want)
	}
}

func wantFenced(t *testing.T, err error, current journal.Token) {
	t.Helper()
	var f *journal.FencedError
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a FencedError", err)
	}
	if f.Current != current {
		t.Fatalf("FencedError: got current %+v, want %+v", f.Current, current)
	}
}

func wantConflict(t *testing.T, err error, expected, actual uint64) {
	t.Helper()
	var c *journal.ConflictError
	if !errors.As(err, &c) {
		t.Fatalf("got %v, want a ConflictError", err)
	}
	if c.Expected != expected || c.Actual != actual {
		t.Fatalf("ConflictError: got expected %d actual %d, want %d and %d", c.Expected, c.Actual, expected, actual)
	}
}

func readsBack(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 7)
	at := time.Unix(1_700_000_000, 123_456_789)
	a := journal.Append{
		Stream: stream("a/1"), Token: tok, Time: at,
		Events: []journal.Event{
			{Type: "opened", Version: 3, Payload: []byte{0, 1, 255}},
			{Type: "noted", Version: 1, Payload: nil},
		},
	}
	mustAppend(t, j, a)
	page, err := j.Read(t.Context(), stream("a/1"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Events) != 2 || page.More {
		t.Fatalf("got %d events and More %v, want 2 and false", len(page.Events), page.More)
	}
	for i, r := range page.Events {
		e := a.Events[i]
		if r.Type != e.Type || r.Version != e.Version || !bytes.Equal(r.Payload, e.Payload) {
			t.Errorf("event %d: got %+v, want %+v", i, r.Event, e)
		}
		if r.Token != tok || !r.Time.Equal(at) || r.Seq != uint64(i)+1 {
			t.Errorf("event %d: got token %+v time %v seq %d", i, r.Token, r.Time, r.Seq)
		}
	}
	wantTexts(t, j, "nobody")
}

func defaultsTime(t *testing.T, open Open) {
	j := handle(t, open)
	a := add(claim(t, j, shard(0), 1, 1), "a", 0, "x")
	a.Time = time.Time{}
	before := time.Now()
	mustAppend(t, j, a)
	page, err := j.Read(t.Context(), stream("a"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Events[0].Time; got.Before(before.Add(-time.Minute)) || got.After(before.Add(time.Hour)) {
		t.Fatalf("got time %v, want about %v", got, before)
	}
}

func conflicts(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	_, err := one(t.Context(), j, add(tok, "a", 5, "gap"))
	wantConflict(t, err, 5, 0)
	mustAppend(t, j, add(tok, "a", 0, "1", "2"))
	for _, expected := range []uint64{0, 1, 3} {
		_, err := one(t.Context(), j, add(tok, "a", expected, "again"))
		wantConflict(t, err, expected, 2)
	}
	mustAppend(t, j, add(tok, "a", 2, "3"))
	wantTexts(t, j, "a", "1", "2", "3")
}

func unclaimed(t *testing.T, open Open) {
	j := handle(t, open)
	_, err := one(t.Context(), j, add(journal.Token{Generation: 1, Epoch: 1, Activation: 1}, "a", 0, "x"))
	wantFenced(t, err, journal.Token{})
	wantTexts(t, j, "a")
}

func staleEpoch(t *testing.T, open Open) {
	j := handle(t, open)
	old := claim(t, j, shard(0), 1, 10)
	mustAppend(t, j, add(old, "a", 0, "1"))
	cur := claim(t, j, shard(0), 1, 11)
	_, err := one(t.Context(), j, add(old, "a", 1, "late"))
	wantFenced(t, err, cur)
	_, err = j.Claim(t.Context(), shard(0), 1, 10, "node-1")
	wantFenced(t, err, cur)
	mustAppend(t, j, add(cur, "a", 1, "2"))
	wantTexts(t, j, "a", "1", "2")
}

func staleGeneration(t *testing.T, open Open) {
	j := handle(t, open)
	old := claim(t, j, shard(0), 1, 1000)
	cur := claim(t, j, shard(0), 2, 3) // a younger generation starts its epochs anew
	_, err := one(t.Context(), j, add(old, "a", 0, "late"))
	wantFenced(t, err, cur)
	_, err = j.Claim(t.Context(), shard(0), 1, 2000, "node-1")
	wantFenced(t, err, cur)
	mustAppend(t, j, add(cur, "a", 0, "1"))
}

func staleActivation(t *testing.T, open Open) {
	j := handle(t, open)
	first := claim(t, j, shard(0), 1, 5)
	mustAppend(t, j, add(first, "a", 0, "1"))
	second := claim(t, j, shard(0), 1, 5)
	if first.Compare(second) >= 0 {
		t.Fatalf("got %+v then %+v, want a newer token", first, second)
	}
	_, err := one(t.Context(), j, add(first, "a", 1, "late"))
	wantFenced(t, err, second)
	mustAppend(t, j, add(second, "a", 1, "2"))
	wantTexts(t, j, "a", "1", "2")
}

func inventedToken(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 5)
	for _, held := range []journal.Token{
		{},
		{Generation: tok.Generation, Epoch: tok.Epoch, Activation: tok.Activation + 1},
		{Generation: tok.Generation + 1, Epoch: tok.Epoch, Activation: tok.Activation},
		{Generation: tok.Generation, Epoch: tok.Epoch + 1, Activation: tok.Activation},
	} {
		_, err := one(t.Context(), j, add(held, "a", 0, "x"))
		wantFenced(t, err, tok)
	}
}

func fencesApart(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	claim(t, j, shard(1), 9, 9)
	claim(t, j, journal.Shard{Type: "other", Index: 0}, 9, 9)
	mustAppend(t, j, add(tok, "a", 0, "1"))

	other := journal.Shard{Type: "other", Index: 0}
	otherTok := claim(t, j, other, 9, 9)
	a := add(otherTok, "a", 0, "of another type")
	a.Stream.Shard = other
	mustAppend(t, j, a)
	wantTexts(t, j, "a", "1")
}
