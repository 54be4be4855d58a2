package coordinatedshutdown

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestASignalRunsTheShutdown(t *testing.T) {
	for sig, want := range map[os.Signal]Reason{syscall.SIGTERM: Terminated, os.Interrupt: Interrupted} {
		t.Run(sig.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mustNew(t, Config{})
				mustAdd(t, s, ServiceStop, "slow", 0, takes(time.Second))
				got, done := make(chan os.Signal, 4), make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { done <- s.signals(ctx, got, func(code int) { t.Errorf("got exit %d", code) }) }()
				got <- sig
				<-s.Started()
				got <- syscall.SIGTERM // changes nothing
				cancel()               // nor does this, now
				if err := <-done; err != nil {
					t.Error(err)
				}
				if r := s.Report(); !r.Ended || r.Reason != want || r.Spent != time.Second {
					t.Errorf("got %+v, want a whole run for %s", r, want)
				}
			})
		})
	}
}

func TestASecondInterruptEndsTheProcessAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Config{})
		mustAdd(t, s, BeforeServiceUnbind, "slow", 0, takes(time.Hour))
		got, done := make(chan os.Signal, 4), make(chan error, 1)
		began := time.Now()
		var code int
		var after time.Duration
		go func() {
			done <- s.signals(t.Context(), got, func(c int) { code, after = c, time.Since(began) })
		}()
		got <- os.Interrupt
		<-s.Started()
		got <- os.Interrupt
		if err := <-done; err != nil {
			t.Error(err)
		}
		if code != ExitSecondInterrupt || after != 0 {
			t.Errorf("got exit %d after %s, want 130 at once", code, after)
		}
	})
}

func TestSignalsEndsWithItsCtxWhenNothingHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.signals(ctx, nil, nil); err != nil {
			t.Error(err)
		}
		if s.Report().Started {
			t.Error("got a run")
		}
	})
}

func TestSignalsFollowsARunOfSomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Config{Phases: []Phase{{Name: ServiceStop, Abort: true}}})
		boom := errors.New("boom")
		mustAdd(t, s, ServiceStop, "bad", 0, func(ctx context.Context) error { _ = takes(time.Second)(ctx); return boom })
		done := make(chan error, 1)
		go func() { done <- s.signals(t.Context(), nil, nil) }()
		if err := s.Run(t.Context(), StoreLost); !errors.Is(err, boom) {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, boom) {
			t.Errorf("got %v, want %v", err, boom)
		}
		if r, _ := s.Reason(); r != StoreLost {
			t.Errorf("got %s, want %s", r, StoreLost)
		}
	})
}

func TestARealSIGTERMIsReceived(t *testing.T) {
	// Held here too, so that it cannot kill the test before Signals listens.
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGTERM)
	defer signal.Stop(held)
	s := mustNew(t, Config{})
	done := make(chan error, 1)
	go func() { done <- s.Signals(t.Context(), func(code int) { t.Errorf("got exit %d", code) }) }()
	for started := false; !started; {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Started():
			started = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r, ok := s.Reason(); !ok || r != Terminated {
		t.Errorf("got %s, want %s", r, Terminated)
	}
}
