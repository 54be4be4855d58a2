package bench

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/sharding"
)

// The bank of the memory benchmark: an account is a balance.
type (
	account   struct{ Balance int64 }
	deposited struct{ Amount int64 }
	deposit   struct{ Amount int64 }
)

var errAmount = sharding.Reject("amount-not-positive")

func (a account) Apply(e deposited) account { return account{a.Balance + e.Amount} }

func (a account) Deposit(d deposit) ([]deposited, error) {
	if d.Amount <= 0 {
		return nil, errAmount
	}
	return []deposited{{d.Amount}}, nil
}

func (a account) Statement() int64 { return a.Balance }

type bank struct {
	accounts *persistence.Type[account, deposited]
	deposit  sharding.Method[deposit, int64]
}

func newBank() bank {
	var b bank
	b.accounts = persistence.NewType("account", account.Apply)
	b.deposit = persistence.Handle(b.accounts, "deposit", account.Deposit, account.Statement)
	return b
}

// demoBank runs the demo on n nodes with one journal, each a process, for the
// life of tb, and returns the addresses of their APIs.
func demoBank(tb testing.TB, n int, path string) []string {
	tb.Helper()
	binary := filepath.Join(tb.TempDir(), "demo-bank")
	build := exec.CommandContext(within(tb, 5*time.Minute), "go", "build", "-o", binary, "../cmd/demo-bank")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", build, err, out)
	}
	_, apis := freePorts(tb, n)
	_, management := freePorts(tb, n)
	_, cluster := freePorts(tb, n)
	for i := range n {
		p := exec.CommandContext(context.Background(), binary, "serve", "--advertise", "127.0.0.1", // ended by a signal
			"--api-addr", apis[i], "--management-addr", management[i], "--cluster-addr", cluster[i],
			"--contact-points", strings.Join(management, ","), "--stable-margin", "100ms",
			"--journal", path, "--drain-idle", "10ms", "--log-level", "error")
		p.Stdout, p.Stderr = os.Stderr, os.Stderr
		if err := p.Start(); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			late := time.AfterFunc(time.Minute, func() { _ = p.Process.Kill() })
			defer late.Stop()
			if err := p.Wait(); err != nil {
				tb.Errorf("demo-bank: %v", err)
			}
		})
		// Runs before: all nodes are told, then waited for.
		defer tb.Cleanup(func() { _ = p.Process.Signal(os.Interrupt) })
	}
	for _, addr := range management {
		awaitReady(tb, addr)
	}
	return apis
}

// awaitReady waits until a node says that it serves.
func awaitReady(tb testing.TB, management string) {
	tb.Helper()
	ctx := within(tb, time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+management+"/ready", http.NoBody)
		if err != nil {
			tb.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("demo-bank at %s is not ready after a minute", management)
		}
	}
}
