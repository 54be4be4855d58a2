package actor

import "log/slog"

// Config of a System. The zero value works.
type Config struct {
	// Logger for failures of actors and for warnings of the library underneath.
	// Defaults to a logger that discards.
	Logger *slog.Logger
	// Events to observe the system with.
	Events Events
}

// Events are called as things happen, from the goroutine they happen in: they
// must not block. Nil ones are left out.
type Events struct {
	// Spawned: an actor was made.
	Spawned func(name string)
	// Restarted: an actor failed and goes on with a fresh behavior.
	Restarted func(name string, reason error)
	// Stopped: an actor has ended; reason is nil when that was wanted.
	Stopped func(name string, reason error)
	// DeadLetter: a queued message was never handled, as its actor ended.
	DeadLetter func(name string, m any)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
