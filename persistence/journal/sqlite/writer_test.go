package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

var shard = journal.Shard{Type: "account"}

func newAppend(tok journal.Token, id string, expected uint64, events ...string) journal.Append {
	a := journal.Append{Stream: journal.Stream{Shard: shard, ID: id}, Token: tok, Expected: expected}
	for _, e := range events {
		a.Events = append(a.Events, journal.Event{Type: "noted", Payload: []byte(e)})
	}
	return a
}

// idle opens a store whose writer goroutine does not run, so that the test can
// be the writer.
func idle(t *testing.T) (*Store, journal.Token) {
	t.Helper()
	cfg := Config{Path: filepath.Join(t.TempDir(), "journal.db")}.WithDefaults()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.Claim(t.Context(), shard, 1, 1, "n")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.writer.close(); err != nil {
		t.Fatal(err)
	}
	if s.writer, err = newWriter(t.Context(), cfg, newGate(cfg.Path+".gate", cfg.BusyTimeout)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.writer.stopOnce.Do(func() { close(s.writer.stopping) })
		s.writer.err = s.writer.shutdown()
		close(s.writer.done)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, tok
}

// commit runs appends as one group and returns their results.
func commit(ctx context.Context, w *writer, appends ...journal.Append) []journal.Result {
	var group []*job
	var works []*appendWork
	for _, a := range appends {
		work := &appendWork{batch: []journal.Append{a}, now: time.Now()}
		works = append(works, work)
		group = append(group, &job{work: work, done: make(chan struct{})})
	}
	w.commit(ctx, group)
	var out []journal.Result
	for i, work := range works {
		<-group[i].done
		out = append(out, work.results...)
	}
	return out
}

func length(t *testing.T, s *Store, id string) int {
	t.Helper()
	page, err := s.Read(t.Context(), journal.Stream{Shard: shard, ID: id}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Events)
}

func TestARefusedAppendLeavesItsGroupAlone(t *testing.T) {
	s, tok := idle(t)
	stale := tok
	stale.Epoch--
	withCommand := func(a journal.Append) journal.Append {
		a.Command = &journal.Command{ID: "c"}
		return a
	}
	got := commit(t.Context(), s.writer,
		newAppend(tok, "a", 0, "1"),
		newAppend(stale, "a", 1, "no"),
		newAppend(tok, "a", 0, "no"),
		withCommand(newAppend(tok, "b", 0, "1")),
		withCommand(newAppend(tok, "b", 1, "no")),
		newAppend(tok, "a", 1, "2"),
	)
	for i, ok := range []bool{true, false, false, true, false, true} {
		if (got[i].Err == nil) != ok {
			t.Errorf("append %d: got %v", i, got[i].Err)
		}
	}
	if a, b := length(t, s, "a"), length(t, s, "b"); a != 2 || b != 1 {
		t.Errorf("got %d and %d events, want 2 and 1", a, b)
	}
}

func TestAFailedCommitIsUnknownAndTheConnectionIsReplaced(t *testing.T) {
	s, tok := idle(t)
	broken, err := s.writer.conn.PrepareContext(t.Context(), "SELECT abs(-9223372036854775807 - 1)")
	if err != nil {
		t.Fatal(err)
	}
	s.writer.stmts.commit = broken
	before := s.writer.conn
	for i, r := range commit(t.Context(), s.writer, newAppend(tok, "a", 0, "1"), newAppend(tok, "b", 7, "conflict")) {
		if !errors.Is(r.Err, journal.ErrUnknown) || errors.Is(r.Err, journal.ErrUnavailable) {
			t.Errorf("append %d: got %v, want ErrUnknown", i, r.Err)
		}
	}
	if r := commit(t.Context(), s.writer, newAppend(tok, "a", uint64(length(t, s, "a")), "2")); r[0].Err != nil {
		t.Fatalf("the next append: %v", r[0].Err)
	}
	if s.writer.conn == before {
		t.Error("the connection is the old one")
	}
}

func TestAFullDiskIsUnavailableUntilThereIsRoom(t *testing.T) {
	s, tok := idle(t)
	// Holds for this connection, which the failure replaces.
	if _, err := s.writer.conn.ExecContext(t.Context(), "PRAGMA max_page_count=20"); err != nil {
		t.Fatal(err)
	}
	big := newAppend(tok, "big", 0, strings.Repeat("x", 1<<19))
	for i, r := range commit(t.Context(), s.writer, newAppend(tok, "a", 0, "1"), big) {
		if !errors.Is(r.Err, journal.ErrUnavailable) || errors.Is(r.Err, journal.ErrUnknown) {
			t.Fatalf("append %d: got %v, want ErrUnavailable", i, r.Err)
		}
	}
	if n := length(t, s, "a") + length(t, s, "big"); n != 0 {
		t.Fatalf("got %d events, want none", n)
	}
	for i, r := range commit(t.Context(), s.writer, newAppend(tok, "a", 0, "1"), big) {
		if r.Err != nil {
			t.Fatalf("append %d with room: %v", i, r.Err)
		}
	}
}

func TestOldCommandRecordsArePruned(t *testing.T) {
	s, tok := idle(t)
	now := time.Now()
	const old, fresh = pruneBatch + 100, 50
	var group []journal.Append
	for n := range old + fresh {
		a := newAppend(tok, fmt.Sprint("s", n%7), 0)
		a.Command = &journal.Command{ID: fmt.Sprint("c", n), Reply: []byte("r")}
		a.Time = now
		if n < old {
			a.Time = now.Add(-s.cfg.Retention - time.Minute)
		}
		group = append(group, a)
	}
	for i, r := range commit(t.Context(), s.writer, group...) {
		if r.Err != nil {
			t.Fatalf("append %d: %v", i, r.Err)
		}
	}
	count := func() (n int) {
		t.Helper()
		if err := s.readers.QueryRowContext(t.Context(), "SELECT count(*) FROM command").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i, want := range []struct {
		next time.Duration
		left int
	}{{pruneSoon, 100 + fresh}, {pruneEvery, fresh}, {pruneEvery, fresh}} {
		if next := s.writer.prune(t.Context()); next != want.next || count() != want.left {
			t.Fatalf("prune %d: got next in %v and %d records, want %v and %d", i, next, count(), want.next, want.left)
		}
	}
	st := journal.Stream{Shard: shard, ID: fmt.Sprint("s", old%7)}
	if _, ok, err := s.Command(t.Context(), st, fmt.Sprint("c", old)); !ok || err != nil {
		t.Fatalf("the first fresh record: got %v %v, want it there", ok, err)
	}
}

// block holds the gate like a process that is stuck in its transaction.
func block(t *testing.T, s *Store) (release func()) {
	t.Helper()
	other := flock.New(s.cfg.Path + ".gate")
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := other.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitAtGate returns when the writer has taken a group and waits at the gate.
func awaitAtGate(w *writer) {
	for {
		w.gate.mu.Lock()
		there := w.gate.attempt != nil
		w.gate.mu.Unlock()
		if there {
			return
		}
		runtime.Gosched()
	}
}

func TestAContextThatEndsTellsWhetherTheWriteHadBegun(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "journal.db")})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.Claim(t.Context(), shard, 1, 1, "n")
	if err != nil {
		t.Fatal(err)
	}
	release := block(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	appendTo := func(id string) chan error {
		out := make(chan error, 1)
		go func() { out <- s.Append(ctx, []journal.Append{newAppend(tok, id, 0, "1")})[0].Err }()
		return out
	}
	first := appendTo("first")
	awaitAtGate(s.writer)
	second := appendTo("second")
	for len(s.writer.queue) == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-first; !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("in flight: got %v, want ErrUnknown", err)
	}
	if err := <-second; !errors.Is(err, journal.ErrUnavailable) || errors.Is(err, journal.ErrUnknown) {
		t.Errorf("still queued: got %v, want ErrUnavailable", err)
	}
	release()
	if r := s.Append(t.Context(), []journal.Append{newAppend(tok, "third", 0, "1")}); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	if a, b := length(t, s, "first"), length(t, s, "second"); a != 1 || b != 0 {
		t.Errorf("got %d and %d events, want 1 and 0", a, b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAStuckProcessMakesTheStoreUnavailableNotStuck(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "journal.db"), BusyTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.Claim(t.Context(), shard, 1, 1, "n")
	if err != nil {
		t.Fatal(err)
	}
	release := block(t, s)
	for range 2 {
		r := s.Append(t.Context(), []journal.Append{newAppend(tok, "a", 0, "1")})
		if !errors.Is(r[0].Err, journal.ErrUnavailable) || !errors.Is(r[0].Err, errGateTimeout) {
			t.Fatalf("got %v, want ErrUnavailable because of the gate", r[0].Err)
		}
	}
	if length(t, s, "a") != 0 {
		t.Error("reads wait for nobody: got events, want none")
	}
	other, err := Open(t.Context(), s.cfg)
	if !errors.Is(err, journal.ErrUnavailable) {
		t.Fatalf("Open: got %v %v, want ErrUnavailable", other, err)
	}
	release()
	// The attempts given up let the gate go as soon as they get it.
	other, err = Open(t.Context(), Config{Path: s.cfg.Path})
	if err != nil {
		t.Fatal(err)
	}
	for i, store := range []*Store{s, other, s} {
		if r := store.Append(t.Context(), []journal.Append{newAppend(tok, "a", uint64(i), "1")}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
}
