package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// exitUsage is the code of a process that refuses its configuration.
const exitUsage = 2

// ErrNoNodeLeft is returned when the last node has exited and is not to be replaced.
var ErrNoNodeLeft = errors.New("supervisor: no node is left")

// RefusedError reports a node that refused its configuration, which starting
// it again would not change.
type RefusedError struct {
	// Name of the node; its output says what is wrong.
	Name string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("supervisor: %s refused its configuration: see its last lines", e.Name)
}

// Node is a process to keep running.
type Node struct {
	// Name before each line of its output. Required, unique.
	Name string
	// Path of the program. Required.
	Path string
	// Args after the program's name.
	Args []string
	// Env of the process; nil means that of this one.
	Env []string
}

// Config of a Supervisor.
type Config struct {
	// Nodes to run. At least one.
	Nodes []Node
	// Output receives what the nodes write. Required.
	Output *Output
	// ReplaceAfter is the pause before a node that exited is started again.
	// Defaults to 2 s; negative means never.
	ReplaceAfter time.Duration
	// StopWithin is how long a node may take to stop. Defaults to 115 s.
	StopWithin time.Duration
	// Logger for starts and exits; defaults to one that discards.
	Logger *slog.Logger
	// Started, if set, is called after each start of a process, from the
	// goroutine of that node.
	Started func(name string, pid int)
}

func (c Config) withDefaults() Config {
	if c.ReplaceAfter == 0 {
		c.ReplaceAfter = 2 * time.Second
	}
	if c.StopWithin == 0 {
		c.StopWithin = 115 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if len(c.Nodes) == 0 {
		errs = append(errs, errors.New("supervisor: Nodes is empty: name at least one"))
	}
	names := map[string]bool{}
	for i, n := range c.Nodes {
		if n.Name == "" || names[n.Name] {
			errs = append(errs, fmt.Errorf("supervisor: Nodes[%d].Name %q must be set and unique", i, n.Name))
		}
		names[n.Name] = true
		if n.Path == "" {
			errs = append(errs, fmt.Errorf("supervisor: Nodes[%d].Path is required", i))
		}
	}
	if c.Output == nil {
		errs = append(errs, errors.New("supervisor: Output is required"))
	}
	if c.StopWithin < 0 {
		errs = append(errs, fmt.Errorf("supervisor: StopWithin is %v: it must be positive", c.StopWithin))
	}
	return errors.Join(errs...)
}

// Supervisor keeps the nodes running.
type Supervisor struct {
	cfg  Config
	kill chan struct{}
	once sync.Once
}

// New returns a Supervisor that does nothing until Run.
func New(cfg Config) (*Supervisor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Supervisor{cfg: cfg.withDefaults(), kill: make(chan struct{})}, nil
}

// Kill makes a Run whose context has ended stop waiting: it kills what is left.
func (s *Supervisor) Kill() { s.once.Do(func() { close(s.kill) }) }

// Run starts the nodes and keeps them running until ctx ends; then it stops
// them all. It returns after the last process is gone: nil after ctx ended,
// else ErrNoNodeLeft, a *RefusedError, or why a process could not be started.
func (s *Supervisor) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	errNodes := make([]error, len(s.cfg.Nodes))
	var wg sync.WaitGroup
	for i, n := range s.cfg.Nodes {
		wg.Go(func() {
			if errNodes[i] = s.keep(ctx, n); errNodes[i] != nil {
				stop(errNodes[i])
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errNodes...); err != nil {
		return err
	}
	if ctx.Err() == nil {
		return ErrNoNodeLeft
	}
	return nil
}

// keep runs one node until ctx ends, or it exits for good.
func (s *Supervisor) keep(ctx context.Context, n Node) error {
	// On Linux a child is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		code, err := s.runOnce(ctx, n)
		switch {
		case err != nil:
			return fmt.Errorf("supervisor: starting %s: %w", n.Name, err)
		case ctx.Err() != nil:
			return nil
		case code == exitUsage:
			return &RefusedError{Name: n.Name}
		case s.cfg.ReplaceAfter < 0:
			return nil
		}
		s.cfg.Logger.InfoContext(ctx, "replacing a node", slog.String("node", n.Name), slog.Duration("after", s.cfg.ReplaceAfter))
		timer := time.NewTimer(s.cfg.ReplaceAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// runOnce runs the node's process once and returns its exit code, -1 after a
// signal. An error means that it did not start.
func (s *Supervisor) runOnce(ctx context.Context, n Node) (code int, err error) {
	out := s.cfg.Output.Writer(n.Name)
	defer out.flush()
	cmd := exec.CommandContext(ctx, n.Path, n.Args...) //nolint:gosec // the caller's own program
	cmd.Env = n.Env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = processAttributes()
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = s.cfg.StopWithin
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil { // told to stop before it began
			return 0, nil
		}
		return 0, err
	}
	pid := cmd.Process.Pid
	s.cfg.Logger.InfoContext(ctx, "node started", slog.String("node", n.Name), slog.Int("pid", pid))
	if s.cfg.Started != nil {
		s.cfg.Started(n.Name, pid)
	}

	gone := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.killLate(ctx, cmd, gone) })
	err = cmd.Wait()
	close(gone)
	wg.Wait()
	state := "unknown"
	if cmd.ProcessState != nil {
		code, state = cmd.ProcessState.ExitCode(), cmd.ProcessState.String()
	}
	attrs := []slog.Attr{slog.String("node", n.Name), slog.Int("pid", pid), slog.String("state", state)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		attrs = append(attrs, slog.Any("err", err)) // copying its output failed
	}
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "node exited", attrs...)
	return code, nil
}

// killLate kills the process when Kill was called and ctx has ended.
func (s *Supervisor) killLate(ctx context.Context, cmd *exec.Cmd, gone <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-gone:
		return
	}
	select {
	case <-s.kill:
		if err := cmd.Process.Kill(); err != nil {
			s.cfg.Logger.DebugContext(ctx, "killing a node failed", slog.Any("err", err))
		}
	case <-gone:
	}
}

// Output writes the lines of several sources to one place, each whole and
// behind the name of its source.
type Output struct {
	mu sync.Mutex
	w  io.Writer
	// width of the longest name, so that the lines align.
	width int
}

// NewOutput returns an Output that writes to w and aligns names up to width.
func NewOutput(w io.Writer, width int) *Output { return &Output{w: w, width: width} }

// Writer returns a writer for the lines of one source. It is used by one
// goroutine at a time.
func (o *Output) Writer(name string) *LineWriter {
	return &LineWriter{out: o, prefix: fmt.Sprintf("%-*s | ", o.width, name)}
}

// Raw writes text as it is, between two lines.
func (o *Output) Raw(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.w, text) // as for a line, there is nobody to tell
}
