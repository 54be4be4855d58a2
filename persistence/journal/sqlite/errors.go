package sqlite

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// ErrForeign: the file holds something else than a journal. It was not
// changed. Choose another path or move the file away.
var ErrForeign = errors.New("journal/sqlite: file is not a journal")

// ErrDamaged: the file is truncated or corrupt. Restore it from a backup.
var ErrDamaged = errors.New("journal/sqlite: file is damaged")

// ErrNewerSchema: a newer version of this library wrote the file. Update the
// program.
var ErrNewerSchema = errors.New("journal/sqlite: file has a newer schema")

// code returns the primary SQLite result code in err, 0 for none.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// unavailable reports a failure of which it is certain that nothing was written.
func unavailable(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", journal.ErrUnavailable, what, err)
}

// notWritten reports whether a failed COMMIT surely wrote nothing: SQLite
// refused before it wrote the frame that makes a transaction count. After an
// I/O error that frame may be there.
func notWritten(err error) bool {
	switch code(err) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL:
		return true
	}
	return false
}

// readFailed maps the failure of a query.
func readFailed(ctx context.Context, what string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return unavailable(what, cause)
	}
	return unavailable(what, err)
}
