package sqlite_test

import (
	"path/filepath"
	"testing"

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
