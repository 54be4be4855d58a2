package coordinatedshutdown

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Signals waits for SIGTERM or SIGINT, runs the shutdown with Terminated or
// Interrupted, and returns its result. It also returns, with nil, when ctx ends
// before there is a run; and with the result when the run was begun by somebody
// else. The run does not inherit the end of ctx, only its values.
//
// A second SIGINT calls exit(ExitSecondInterrupt) at once: give os.Exit. Signals is
// the only code of this library that ends the process, and it does so by that
// function only.
//
//	go func() { done <- shutdown.Signals(ctx, os.Exit) }()
func (s *Shutdown) Signals(ctx context.Context, exit func(code int)) error {
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(got)
	return s.signals(ctx, got, exit)
}

func (s *Shutdown) signals(ctx context.Context, got <-chan os.Signal, exit func(code int)) error {
	var (
		detached   = context.WithoutCancel(ctx)
		quit       = ctx.Done()
		started    = s.started
		result     chan error
		interrupts int
	)
	// follow has the run made, or waited for, beside this loop.
	follow := func(reason Reason) {
		if result == nil {
			result = make(chan error, 1)
			go func() { result <- s.Run(detached, reason) }()
		}
	}
	for {
		select {
		case sig := <-got:
			reason := Terminated
			if sig == os.Interrupt {
				reason = Interrupted
				interrupts++
			}
			s.logger.InfoContext(ctx, "signal received", slog.String("signal", sig.String()))
			if interrupts == 2 {
				s.logger.WarnContext(ctx, "second interrupt ends the process", slog.Int("exit_code", ExitSecondInterrupt))
				exit(ExitSecondInterrupt)
			}
			follow(reason)
		case <-started:
			started = nil
			follow(Requested) // only waits: somebody else was first
		case <-quit:
			quit = nil
			if !s.Report().Started && result == nil {
				return nil
			}
		case err := <-result:
			return err
		}
	}
}
