package memory_test

import (
	"testing"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/journaltest"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
)

func TestTheMemoryStoreConforms(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Open {
		s := memory.New()
		return func(*testing.T) journal.Journal { return s }
	})
}
