package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Defaults of Config.
const (
	DefaultRetention   = 24 * time.Hour
	DefaultBusyTimeout = 15 * time.Second
	DefaultReaders     = 4
)

// Config of a store. Only Path has no default.
type Config struct {
	// Path of the database file. It is created when it does not exist; its
	// directory must exist. Beside it SQLite keeps Path-wal and Path-shm, and
	// the store Path.gate. It must be on a local disk: SQLite's write-ahead log
	// needs shared memory, so NFS and EFS do not work.
	Path string
	// Retention of command records. Defaults to 24 hours. It must be longer
	// than any caller repeats a command.
	Retention time.Duration
	// BusyTimeout bounds the wait for other processes that write to the file,
	// once at the gate and once in SQLite. Defaults to 15 seconds.
	BusyTimeout time.Duration
	// Readers is the number of connections that read. Defaults to 4.
	Readers int
	// Logger. Defaults to one that discards.
	Logger *slog.Logger
}

// WithDefaults returns a copy with every zero field set to its default.
func (c Config) WithDefaults() Config {
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = DefaultBusyTimeout
	}
	if c.Readers == 0 {
		c.Readers = DefaultReaders
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports every problem at once.
func (c Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("journal/sqlite: Path is empty: name the database file"))
	}
	if c.Retention < 0 {
		errs = append(errs, fmt.Errorf("journal/sqlite: Retention is %v: it must be positive", c.Retention))
	}
	if c.BusyTimeout != 0 && c.BusyTimeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("journal/sqlite: BusyTimeout is %v: it must be at least 1ms", c.BusyTimeout))
	}
	if c.Readers < 0 || c.Readers > 64 {
		errs = append(errs, fmt.Errorf("journal/sqlite: Readers is %d: it must be 1 to 64", c.Readers))
	}
	return errors.Join(errs...)
}
