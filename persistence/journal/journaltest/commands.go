package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

func command(id, reply string) *journal.Command {
	return &journal.Command{ID: id, Hash: [16]byte{1, 2, 3}, Reply: []byte(reply)}
}

func wantDuplicate(t *testing.T, err error, want journal.Command) {
	t.Helper()
	var d *journal.DuplicateError
	if !errors.As(err, &d) {
		t.Fatalf("got %v, want a DuplicateError", err)
	}
	wantCommand(t, d.Recorded, want)
}

func wantCommand(t *testing.T, got, want journal.Command) {
	t.Helper()
	if got.ID != want.ID || got.Hash != want.Hash || !bytes.Equal(got.Reply, want.Reply) || got.Seq != want.Seq {
		t.Fatalf("got record %+v, want %+v", got, want)
	}
	if got.Time.IsZero() {
		t.Fatalf("record %q has no time", got.ID)
	}
}

func partialGroup(t *testing.T, open Open) {
	j := handle(t, open)
	stale := claim(t, j, shard(0), 1, 1)
	tok := claim(t, j, shard(0), 1, 2)
	first := add(tok, "dup", 0, "1")
	first.Command = command("c", "r")
	mustAppend(t, j, first)
	dup := add(tok, "dup", 1, "no")
	dup.Command = command("c", "other")
	large := add(tok, "large", 0)
	large.Events = []journal.Event{{Type: "e", Payload: make([]byte, journal.MaxEvent+1)}}

	got := j.Append(t.Context(), []journal.Append{
		add(tok, "a", 0, "a1", "a2"),
		add(stale, "fenced", 0, "no"),
		add(tok, "a", 2, "a3"), // after the first of this batch
		add(tok, "a", 2, "no"), // the place is taken by the one before
		dup,
		large,
		add(tok, "b", 4, "no"),
		add(tok, "c", 0, "c1"),
	})
	var fenced *journal.FencedError
	var conflict *journal.ConflictError
	var duplicate *journal.DuplicateError
	var tooLarge *journal.TooLargeError
	for i, want := range []struct {
		seq uint64
		err any
	}{{2, nil}, {0, &fenced}, {3, nil}, {0, &conflict}, {0, &duplicate}, {0, &tooLarge}, {0, &conflict}, {1, nil}} {
		switch {
		case want.err == nil && (got[i].Err != nil || got[i].Seq != want.seq):
			t.Errorf("result %d: got %+v, want seq %d", i, got[i], want.seq)
		case want.err != nil && (got[i].Err == nil || !errors.As(got[i].Err, want.err)):
			t.Errorf("result %d: got %+v, want a %T", i, got[i], want.err)
		}
	}
	wantTexts(t, j, "a", "a1", "a2", "a3")
	wantTexts(t, j, "dup", "1")
	for _, id := range []string{"fenced", "large", "b"} {
		wantTexts(t, j, id)
	}
	wantTexts(t, j, "c", "c1")
}

func largeBatch(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	var batch []journal.Append
	for i := range 3000 {
		batch = append(batch, add(tok, fmt.Sprint("s", i%2), uint64(i/2), fmt.Sprint(i)))
	}
	for i, r := range j.Append(t.Context(), batch) {
		if r.Err != nil || r.Seq != uint64(i/2)+1 {
			t.Fatalf("result %d: got %+v", i, r)
		}
	}
	if got := texts(t, j, "s1"); len(got) != 1500 || got[1499] != "2999" {
		t.Fatalf("got %d events, want 1500 that end with 2999", len(got))
	}
}

func commandOnly(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	a := add(tok, "a", 0)
	a.Command = command("c1", "refused")
	mustAppend(t, j, a)
	wantTexts(t, j, "a")
	mustAppend(t, j, add(tok, "a", 0, "1"))
	b := add(tok, "a", 1)
	b.Command = command("c2", "refused again")
	mustAppend(t, j, b)
	cmd, ok, err := j.Command(t.Context(), stream("a"), "c2")
	if err != nil || !ok {
		t.Fatalf("Command: %v %v", ok, err)
	}
	want := *b.Command
	want.Seq = 1
	wantCommand(t, cmd, want)
}

func duplicate(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	a := add(tok, "a", 0, "1", "2")
	a.Command = command("c", "reply")
	mustAppend(t, j, a)
	want := *a.Command
	want.Seq = 2

	_, err := one(t.Context(), j, a) // the lost answer, sent again
	wantDuplicate(t, err, want)
	again := add(tok, "a", 2, "3")
	again.Command = &journal.Command{ID: "c", Hash: [16]byte{9}, Reply: []byte("other")}
	_, err = one(t.Context(), j, again) // another command under the same id
	wantDuplicate(t, err, want)
	wantTexts(t, j, "a", "1", "2")

	next := claim(t, j, shard(0), 1, 2) // a new owner answers the same
	again.Token = next
	_, err = one(t.Context(), j, again)
	wantDuplicate(t, err, want)
	got, ok, err := j.Command(t.Context(), stream("a"), "c")
	if err != nil || !ok {
		t.Fatalf("Command: %v %v", ok, err)
	}
	wantCommand(t, got, want)
	if _, ok, err := j.Command(t.Context(), stream("a"), "other"); ok || err != nil {
		t.Fatalf("Command(other): got %v %v, want none", ok, err)
	}

	both := add(next, "b", 0, "1")
	both.Command = command("x", "first")
	second := add(next, "b", 1, "2")
	second.Command = command("x", "second")
	r := j.Append(t.Context(), []journal.Append{both, second})
	if r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	want = *both.Command
	want.Seq = 1
	wantDuplicate(t, r[1].Err, want)
}

func commandsApart(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	for i, id := range []string{"a", "b"} {
		a := add(tok, id, 0, "1")
		a.Command = command("same", fmt.Sprint("reply ", i))
		mustAppend(t, j, a)
	}
	cmd, ok, err := j.Command(t.Context(), stream("b"), "same")
	if err != nil || !ok || string(cmd.Reply) != "reply 1" {
		t.Fatalf("got %q %v %v, want reply 1", cmd.Reply, ok, err)
	}
}

func fenceBeforeDuplicate(t *testing.T, open Open) {
	j := handle(t, open)
	old := claim(t, j, shard(0), 1, 1)
	a := add(old, "a", 0, "1")
	a.Command = command("c", "r")
	mustAppend(t, j, a)
	cur := claim(t, j, shard(0), 1, 2)
	_, err := one(t.Context(), j, a)
	wantFenced(t, err, cur)
}

func snapshots(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	if _, ok, err := j.Snapshot(t.Context(), stream("a")); ok || err != nil {
		t.Fatalf("got %v %v, want no snapshot", ok, err)
	}
	want := func(seq uint64, text string) {
		t.Helper()
		got, ok, err := j.Snapshot(t.Context(), stream("a"))
		if err != nil || !ok || got.Seq != seq || string(got.Payload) != text {
			t.Fatalf("got snapshot %d %q %v %v, want %d %q", got.Seq, got.Payload, ok, err, seq, text)
		}
	}
	a := add(tok, "a", 0, "1", "2")
	a.Snapshot = &journal.Snapshot{Seq: 2, Payload: []byte("two")}
	mustAppend(t, j, a)
	want(2, "two")
	a = add(tok, "a", 2, "3")
	a.Snapshot = &journal.Snapshot{Seq: 3, Payload: []byte("three")}
	mustAppend(t, j, a)
	want(3, "three")
	only := add(tok, "a", 3)
	only.Snapshot = &journal.Snapshot{Seq: 3, Payload: []byte("three again")}
	mustAppend(t, j, only)
	want(3, "three again")
	wantTexts(t, j, "a", "1", "2", "3")
	if _, ok, err := j.Snapshot(t.Context(), stream("b")); ok || err != nil {
		t.Fatalf("got %v %v, want no snapshot of another stream", ok, err)
	}
}

func refusedWhole(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	a := add(tok, "a", 7, "no")
	a.Command = command("c", "r")
	a.Snapshot = &journal.Snapshot{Seq: 8, Payload: []byte("no")}
	_, err := one(t.Context(), j, a)
	wantConflict(t, err, 7, 0)
	if _, ok, err := j.Snapshot(t.Context(), stream("a")); ok || err != nil {
		t.Fatalf("snapshot: got %v %v, want none", ok, err)
	}
	if _, ok, err := j.Command(t.Context(), stream("a"), "c"); ok || err != nil {
		t.Fatalf("command: got %v %v, want none", ok, err)
	}
}

func malformed(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	long := func(n int) string { return strings.Repeat("x", n+1) }
	ok := add(tok, "a", 0, "1")
	var large *journal.TooLargeError
	var invalid *journal.InvalidError
	for _, c := range []struct {
		name string
		mod  func(a *journal.Append)
		want any
	}{
		{"stream id too long", func(a *journal.Append) { a.Stream.ID = long(journal.MaxStreamID) }, &large},
		{"stream id empty", func(a *journal.Append) { a.Stream.ID = "" }, &invalid},
		{"type too long", func(a *journal.Append) { a.Stream.Type = long(journal.MaxName) }, &large},
		{"type empty", func(a *journal.Append) { a.Stream.Type = "" }, &invalid},
		{"shard negative", func(a *journal.Append) { a.Stream.Index = -1 }, &invalid},
		{"event type too long", func(a *journal.Append) { a.Events[0].Type = long(journal.MaxName) }, &large},
		{"event type empty", func(a *journal.Append) { a.Events[0].Type = "" }, &invalid},
		{"too many events", func(a *journal.Append) {
			for range journal.MaxEvents {
				a.Events = append(a.Events, event("x"))
			}
		}, &large},
		{"command id too long", func(a *journal.Append) { a.Command = command(long(journal.MaxCommandID), "") }, &large},
		{"command id empty", func(a *journal.Append) { a.Command = command("", "") }, &invalid},
		{"reply too long", func(a *journal.Append) { a.Command = command("c", long(journal.MaxEvent)) }, &large},
		{"snapshot too large", func(a *journal.Append) {
			a.Snapshot = &journal.Snapshot{Seq: 1, Payload: make([]byte, journal.MaxSnapshot+1)}
		}, &large},
		{"snapshot ahead of the stream", func(a *journal.Append) { a.Snapshot = &journal.Snapshot{Seq: 2} }, &invalid},
		{"snapshot of nothing", func(a *journal.Append) { a.Snapshot = &journal.Snapshot{} }, &invalid},
		{"nothing to append", func(a *journal.Append) { a.Events = nil }, &invalid},
	} {
		a := ok
		a.Events = append([]journal.Event(nil), ok.Events...)
		c.mod(&a)
		if _, err := one(t.Context(), j, a); !errors.As(err, c.want) {
			t.Errorf("%s: got %v, want a %T", c.name, err, c.want)
		}
	}
	wantTexts(t, j, "a")
	for _, sh := range []journal.Shard{{}, {Type: long(journal.MaxName)}, {Type: "a", Index: -1}} {
		if _, err := j.Claim(t.Context(), sh, 1, 1, "n"); err == nil {
			t.Errorf("Claim(%.20q, %d): got no error", sh.Type, sh.Index)
		}
	}
	longest := add(tok, strings.Repeat("i", journal.MaxStreamID), 0, "1")
	longest.Command = command(strings.Repeat("c", journal.MaxCommandID), "")
	mustAppend(t, j, longest)
}

func noAliasing(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	a := add(tok, "a", 0, "1")
	a.Command = command("c", "reply")
	a.Snapshot = &journal.Snapshot{Seq: 1, Payload: []byte("snap")}
	mustAppend(t, j, a)
	clobber := func(b []byte) { copy(b, "????????") }
	for range 2 {
		clobber(a.Events[0].Payload)
		clobber(a.Command.Reply)
		clobber(a.Snapshot.Payload)
		wantTexts(t, j, "a", "1")
		page, err := j.Read(t.Context(), stream("a"), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		snap, _, err := j.Snapshot(t.Context(), stream("a"))
		if err != nil || string(snap.Payload) != "snap" {
			t.Fatalf("got snapshot %q %v", snap.Payload, err)
		}
		cmd, _, err := j.Command(t.Context(), stream("a"), "c")
		if err != nil || string(cmd.Reply) != "reply" {
			t.Fatalf("got reply %q %v", cmd.Reply, err)
		}
		a.Events[0].Payload, a.Command.Reply, a.Snapshot.Payload = page.Events[0].Payload, cmd.Reply, snap.Payload
	}
}

func endedContext(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, journal.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want ErrUnavailable because of context.Canceled", what, err)
		}
	}
	_, err := one(ctx, j, add(tok, "a", 0, "no"))
	check("Append", err)
	_, err = j.Claim(ctx, shard(0), 1, 2, "n")
	check("Claim", err)
	_, _, err = j.SwapClaim(ctx, "c", 0, journal.Claim{Generation: 1})
	check("SwapClaim", err)
	_, err = j.Read(ctx, stream("a"), 0, 0)
	check("Read", err)
	wantTexts(t, j, "a")
	mustAppend(t, j, add(tok, "a", 0, "1"))
	row, err := j.ReadClaim(t.Context(), "c")
	if err != nil || row.Version != 0 {
		t.Fatalf("got row %+v %v, want none", row, err)
	}
}
