package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	lib "modernc.org/sqlite/lib"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

const (
	// applicationID marks a file as ours: "Hold".
	applicationID = 0x486f6c64
	// schemaVersion is the newest layout this program knows.
	schemaVersion = 1
)

// events is a rowid table: ord grows in commit order because there is one
// writer at a time, and appending at its end is cheaper than clustering by
// stream. Commands are pruned in the order of ord too, which spares an index by
// time.
const schema = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
	ord        INTEGER PRIMARY KEY,
	type       TEXT    NOT NULL,
	shard      INTEGER NOT NULL,
	pid        TEXT    NOT NULL,
	seq        INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	epoch      INTEGER NOT NULL,
	activation INTEGER NOT NULL,
	ts         INTEGER NOT NULL,
	event      TEXT    NOT NULL,
	version    INTEGER NOT NULL,
	payload    BLOB    NOT NULL,
	UNIQUE (type, pid, seq)
);
CREATE TABLE fence (
	type       TEXT    NOT NULL,
	shard      INTEGER NOT NULL,
	generation INTEGER NOT NULL,
	epoch      INTEGER NOT NULL,
	activation INTEGER NOT NULL,
	owner      TEXT    NOT NULL,
	PRIMARY KEY (type, shard)
) WITHOUT ROWID;
CREATE TABLE command (
	ord   INTEGER PRIMARY KEY,
	type  TEXT    NOT NULL,
	pid   TEXT    NOT NULL,
	id    TEXT    NOT NULL,
	hash  BLOB    NOT NULL,
	reply BLOB    NOT NULL,
	seq   INTEGER NOT NULL,
	ts    INTEGER NOT NULL,
	UNIQUE (type, pid, id)
);
CREATE TABLE snapshot (
	type    TEXT    NOT NULL,
	pid     TEXT    NOT NULL,
	seq     INTEGER NOT NULL,
	payload BLOB    NOT NULL,
	PRIMARY KEY (type, pid)
);
CREATE TABLE claim (
	cluster    TEXT    PRIMARY KEY,
	generation INTEGER NOT NULL,
	owner      TEXT    NOT NULL,
	voters     TEXT    NOT NULL,
	version    INTEGER NOT NULL
) WITHOUT ROWID;
`

// dsn builds the data source name; pragmas run on every new connection.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String()
}

func busyPragma(c Config) string {
	return "busy_timeout(" + strconv.FormatInt(c.BusyTimeout.Milliseconds(), 10) + ")"
}

// inspect looks at the path without changing anything.
func inspect(path string) error {
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("journal/sqlite: directory %s of Path %s does not exist: create it", dir, path)
	case err != nil:
		return fmt.Errorf("journal/sqlite: directory of Path %s: %w", path, err)
	case !info.IsDir():
		return fmt.Errorf("journal/sqlite: %s in Path %s is a file, not a directory: choose another path", dir, path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("journal/sqlite: cannot open %s to read and write: %w: correct its permissions or choose another Path", path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, 100)
	n, err := io.ReadFull(f, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil // SQLite makes an empty database of an empty file
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("journal/sqlite: cannot read %s: %w", path, err)
	case !bytes.HasPrefix(head[:n], []byte("SQLite format 3\x00")):
		return fmt.Errorf("%w: %s is not a SQLite database; it was left as it is: move it away or choose another Path", ErrForeign, path)
	case n < len(head):
		return fmt.Errorf("%w: %s ends within its header: restore it from a backup", ErrDamaged, path)
	}
	return nil
}

// prepareFile checks that the file is ours and creates the schema in a new
// one. The caller holds the gate.
func prepareFile(ctx context.Context, c Config) (err error) {
	db, err := sql.Open("sqlite", dsn(c.Path, busyPragma(c), "synchronous(FULL)"))
	if err != nil {
		return fmt.Errorf("journal/sqlite: open %s: %w", c.Path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)

	isNew, err := identify(ctx, db, c.Path)
	if err != nil {
		return err
	}
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return fileError(c.Path, err)
	}
	if mode != "wal" {
		return fmt.Errorf("journal/sqlite: %s cannot have a write-ahead log (journal mode is %q): its file system lacks shared memory, choose a local disk", c.Path, mode)
	}
	if !isNew {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fileError(c.Path, err)
	}
	defer func() { _ = tx.Rollback() }() // a no-op after Commit
	stmts := schema + fmt.Sprintf("INSERT INTO meta VALUES ('schema', '%d'); PRAGMA application_id=%d;", schemaVersion, applicationID)
	if _, err := tx.ExecContext(ctx, stmts); err != nil {
		return fileError(c.Path, err)
	}
	if err := tx.Commit(); err != nil {
		return fileError(c.Path, err)
	}
	return nil
}

// identify reports whether the database is empty, or an error unless it is
// one of ours.
func identify(ctx context.Context, db *sql.DB, path string) (isNew bool, err error) {
	var app, tables int64
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return false, fileError(path, err)
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return false, fileError(path, err)
	}
	switch {
	case app == 0 && tables == 0:
		return true, nil
	case app != applicationID:
		return false, fmt.Errorf("%w: %s is a SQLite database of another program (application id %#x, %d tables and indexes); it was left as it is: choose another Path", ErrForeign, path, app, tables)
	}
	var text string
	if err := db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key='schema'").Scan(&text); err != nil {
		return false, fileError(path, err)
	}
	version, err := strconv.Atoi(text)
	switch {
	case err != nil || version < 1:
		return false, fmt.Errorf("%w: %s has schema version %q: restore it from a backup", ErrDamaged, path, text)
	case version > schemaVersion:
		return false, fmt.Errorf("%w: %s has version %d, this program knows up to %d: update the program", ErrNewerSchema, path, version, schemaVersion)
	}
	return false, nil
}

// fileError names the file and the remedy.
func fileError(path string, err error) error {
	switch code(err) {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s: %w: restore it from a backup, or recover what is left with the sqlite3 command .recover", ErrDamaged, path, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL:
		return fmt.Errorf("%w: %s: %w", journal.ErrUnavailable, path, err)
	case lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY, lib.SQLITE_PERM:
		return fmt.Errorf("journal/sqlite: cannot write %s and the files beside it: %w: correct the permissions of its directory or choose another Path", path, err)
	}
	return fmt.Errorf("journal/sqlite: %s: %w", path, err)
}
