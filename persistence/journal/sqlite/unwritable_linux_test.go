package sqlite_test

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/persistence/journal/sqlite"
)

func TestOpenReportsADirectoryThatCannotBeWritten(t *testing.T) {
	// A directory that refuses new files even to root.
	_, err := sqlite.Open(t.Context(), sqlite.Config{Path: "/proc/self/journal.db"})
	if err == nil || !strings.Contains(err.Error(), "/proc/self/journal.db") || !strings.Contains(err.Error(), "writable") {
		t.Fatalf("got %v, want an error that names the file and says writable", err)
	}
}
