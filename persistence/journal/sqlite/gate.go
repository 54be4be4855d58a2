package sqlite

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// errGateTimeout: another process held the gate for the whole BusyTimeout.
var errGateTimeout = errors.New("another process holds the write gate: is one of them stopped or stuck?")

// gate is a lock between processes around each write transaction. SQLite's own
// busy handler sleeps and polls, which starves all processes but the one that
// writes most; the kernel's queue for flock is fair enough. The gate is not
// needed for correctness: BEGIN IMMEDIATE excludes writers by itself.
//
// Only the writer goroutine calls enter and leave. A blocking flock cannot be
// interrupted, so it waits in a goroutine of its own; when its caller has given
// up, the goroutine lets the lock go as soon as it gets it.
type gate struct {
	file    *flock.Flock
	timeout time.Duration

	mu      sync.Mutex
	attempt *attempt
}

type attempt struct {
	granted chan error // buffered
	wanted  bool       // guarded by gate.mu
}

func newGate(path string, timeout time.Duration) *gate {
	return &gate{file: flock.New(path, flock.SetPermissions(0o644)), timeout: timeout}
}

// enter takes the lock or fails after the timeout.
func (g *gate) enter() error {
	a, held, err := g.begin()
	if err != nil {
		return fmt.Errorf("gate %s: %w", g.file.Path(), err)
	}
	if held {
		return nil
	}
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case err = <-a.granted:
	case <-timer.C:
		g.mu.Lock()
		select {
		case err = <-a.granted: // it came at the last moment
		default:
			a.wanted = false
			err = errGateTimeout
		}
		g.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("gate %s: %w", g.file.Path(), err)
	}
	return nil
}

// begin returns held, or the attempt to wait for: an earlier one that is still
// going on, or a new one.
func (g *gate) begin() (a *attempt, held bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attempt != nil {
		g.attempt.wanted = true
		return g.attempt, false, nil
	}
	if held, err = g.file.TryLock(); err != nil || held {
		return nil, held, err
	}
	a = &attempt{granted: make(chan error, 1), wanted: true}
	g.attempt = a
	go g.wait(a)
	return a, false, nil
}

func (g *gate) wait(a *attempt) {
	err := g.file.Lock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.attempt = nil
	if err == nil && !a.wanted {
		err = g.file.Unlock()
	}
	a.granted <- err
}

func (g *gate) leave() error { return g.file.Unlock() }

// close waits for an attempt that nobody wants any more, at most the timeout.
func (g *gate) close() error {
	g.mu.Lock()
	a := g.attempt
	g.mu.Unlock()
	if a == nil {
		return g.file.Close()
	}
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case err := <-a.granted:
		return errors.Join(err, g.file.Close())
	case <-timer.C:
		return fmt.Errorf("gate %s: %w", g.file.Path(), errGateTimeout)
	}
}
