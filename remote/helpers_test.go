package remote_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/remote"
)

const patience = 20 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come within %s", what, patience)
	}
	panic("unreachable")
}

func echo(e *remote.Endpoint) {
	e.Handle("echo", func(m remote.Message) {
		if m.Reply != nil {
			m.Reply(m.Payload, nil)
		}
	})
}

// start runs an endpoint on loopback until the test ends.
func start(t *testing.T, cfg remote.Config, prepare func(*remote.Endpoint)) *remote.Endpoint {
	t.Helper()
	if cfg.Self.Addr == "" {
		cfg.Self.Addr = "127.0.0.1:0"
	}
	if cfg.Cluster == "" {
		cfg.Cluster = "test"
	}
	e, err := remote.New(cfg)
	if err != nil {
		t.Fatalf("New: got %v, want nil", err)
	}
	if prepare != nil {
		prepare(e)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ended, "the end of Run"); err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	return e
}
