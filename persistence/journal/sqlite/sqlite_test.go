package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/journaltest"
	"github.com/holdfast-go/holdfast/persistence/journal/sqlite"
)

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func TestTheSQLiteStoreConforms(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Open {
		path := filepath.Join(t.TempDir(), "journal #1?.db")
		return func(t *testing.T) journal.Journal { return open(t, path) }
	})
}

func TestAcknowledgedAppendsSurviveKill(t *testing.T) {
	journaltest.Crash(t, func(dir string) (journal.Journal, error) {
		return sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(dir, "journal.db")})
	})
}

func TestOpenRefusesWhatIsNotAJournal(t *testing.T) {
	exec := func(t *testing.T, path string, stmts ...string) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stmts {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	journalFile := func(t *testing.T, path string) {
		t.Helper()
		s := open(t, path)
		tok, err := s.Claim(t.Context(), journal.Shard{Type: "a"}, 1, 1, "n")
		if err != nil {
			t.Fatal(err)
		}
		var events []journal.Event
		for range 200 {
			events = append(events, journal.Event{Type: "e", Payload: make([]byte, 1000)})
		}
		r := s.Append(t.Context(), []journal.Append{{Stream: journal.Stream{Shard: journal.Shard{Type: "a"}, ID: "1"}, Token: tok, Events: events}})
		if r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	truncate := func(t *testing.T, path string, size int64) {
		t.Helper()
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string) string // returns the path to open
		want error
		text string // part of the message that is the remedy
	}{
		{"a text file", func(t *testing.T, path string) string {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 50)), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, sqlite.ErrForeign, "move it away"},
		{"a short text file", func(t *testing.T, path string) string {
			if err := os.WriteFile(path, []byte("hi"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, sqlite.ErrForeign, "move it away"},
		{"a database of another program", func(t *testing.T, path string) string {
			exec(t, path, "CREATE TABLE events (ord INTEGER PRIMARY KEY)", "INSERT INTO events VALUES (7)")
			return path
		}, sqlite.ErrForeign, "choose another Path"},
		{"a database with another application id", func(t *testing.T, path string) string {
			exec(t, path, "PRAGMA application_id=77", "CREATE TABLE x (y)")
			return path
		}, sqlite.ErrForeign, "choose another Path"},
		{"a newer schema", func(t *testing.T, path string) string {
			journalFile(t, path)
			exec(t, path, "UPDATE meta SET value='99' WHERE key='schema'")
			return path
		}, sqlite.ErrNewerSchema, "update the program"},
		{"a senseless schema version", func(t *testing.T, path string) string {
			journalFile(t, path)
			exec(t, path, "UPDATE meta SET value='many' WHERE key='schema'")
			return path
		}, sqlite.ErrDamaged, "restore it from a backup"},
		{"a journal cut within its header", func(t *testing.T, path string) string {
			journalFile(t, path)
			truncate(t, path, 60)
			return path
		}, sqlite.ErrDamaged, "restore it from a backup"},
		{"a journal cut in half", func(t *testing.T, path string) string {
			journalFile(t, path)
			truncate(t, path, 4096*10)
			return path
		}, sqlite.ErrDamaged, "restore it from a backup"},
		{"a journal with garbage in its first page", func(t *testing.T, path string) string {
			journalFile(t, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, f)
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xAA}, 2000), 100); err != nil {
				t.Fatal(err)
			}
			return path
		}, sqlite.ErrDamaged, "restore it from a backup"},
		{"a missing directory", func(t *testing.T, path string) string {
			return filepath.Join(path, "missing", "journal.db")
		}, nil, "create it"},
		{"a file as directory", func(t *testing.T, path string) string {
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(path, "journal.db")
		}, nil, "not a directory"},
		{"a directory as file", func(t *testing.T, path string) string {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			return path
		}, nil, "choose another Path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t, filepath.Join(t.TempDir(), "journal.db"))
			before, _ := os.ReadFile(path)
			s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err == nil {
				_ = s.Close()
				t.Fatal("got no error")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), filepath.Base(path)) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %q, want the file name and %q", err, c.text)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestConfigReportsEveryProblemAtOnce(t *testing.T) {
	err := sqlite.Config{Retention: -1, BusyTimeout: -1, Readers: -1}.Validate()
	for _, field := range []string{"Path", "Retention", "BusyTimeout", "Readers"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want it to name %s", err, field)
		}
	}
	if err := (sqlite.Config{Path: "x"}).WithDefaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func TestSeveralProcessesMayCreateTheFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestTheJournalIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	st := journal.Stream{Shard: journal.Shard{Type: "a"}, ID: "1"}
	for n := range uint64(3) {
		s := open(t, path)
		tok, err := s.Claim(t.Context(), st.Shard, 1, n+1, "n")
		if err != nil || tok.Activation != n+1 {
			t.Fatalf("got token %+v %v, want activation %d", tok, err, n+1)
		}
		r := s.Append(t.Context(), []journal.Append{{Stream: st, Token: tok, Expected: n, Events: []journal.Event{{Type: "e"}}}})
		if r[0].Err != nil || r[0].Seq != n+1 {
			t.Fatalf("got %+v, want seq %d", r[0], n+1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkAppend is the rate of durable appends by 64 writers to 10,000
// streams chosen at random, next to what one file and fsync can do.
func BenchmarkAppend(b *testing.B) {
	const writers, streams, shards = 64, 10_000, 100
	payload := make([]byte, 200)
	b.Run("group_commit", func(b *testing.B) {
		ctx := context.Background()
		s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(b.TempDir(), "journal.db")})
		if err != nil {
			b.Fatal(err)
		}
		defer closed(b, s)
		tokens := make([]journal.Token, shards)
		for n := range tokens {
			if tokens[n], err = s.Claim(ctx, journal.Shard{Type: "account", Index: n}, 1, 1, "n"); err != nil {
				b.Fatal(err)
			}
		}
		// Each writer has its own part of the streams, so that none conflicts.
		var last [streams]uint64
		var next sync.Mutex
		left := b.N
		b.ResetTimer()
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for {
					next.Lock()
					left--
					done := left < 0
					next.Unlock()
					if done {
						return
					}
					n := rand.IntN(streams/writers)*writers + w
					r := s.Append(ctx, []journal.Append{{
						Stream: journal.Stream{Shard: journal.Shard{Type: "account", Index: n % shards}, ID: fmt.Sprintf("tenant-a/%08d", n)},
						Token:  tokens[n%shards], Expected: last[n], Time: time.Now(),
						Events: []journal.Event{{Type: "deposited", Version: 1, Payload: payload}},
					}})
					if r[0].Err != nil {
						b.Error(r[0].Err)
						return
					}
					last[n]++
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	})
	b.Run("raw_fsync", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
		if err != nil {
			b.Fatal(err)
		}
		defer closed(b, f)
		for b.Loop() {
			if _, err := f.Write(payload); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "fsyncs/s")
	})
}

func closed(tb testing.TB, c io.Closer) {
	tb.Helper()
	if err := c.Close(); err != nil {
		tb.Errorf("close: %v", err)
	}
}
