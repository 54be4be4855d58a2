package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// childEnv holds a [child] as JSON in a process that is to be one.
const childEnv = "HOLDFAST_BENCH_NODE"

// child is what a process of this binary is to run.
type child struct {
	// Targets are the management addresses of all nodes, Port this one's.
	Targets []string
	Port    int
}

// ready is what a child prints when it serves.
type ready struct {
	// Bare is the address of the bare stream.
	Bare string
}

func TestMain(m *testing.M) {
	spec := os.Getenv(childEnv)
	if spec == "" {
		os.Exit(m.Run())
	}
	if err := runChild(spec); err != nil {
		fmt.Fprintln(os.Stderr, "bench node:", err)
		os.Exit(1)
	}
}

// runChild is a node of its own process until its standard input ends.
func runChild(spec string) error {
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bare, err := listenBare()
	if err != nil {
		return err
	}
	defer bare.stop()
	node, err := startNode(ctx, c.Targets, c.Port, nil, newEchoes().entities()...)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready{Bare: bare.addr}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, node.Shutdown(context.Background()))
}

// startNode starts a node of a cluster that has the given management addresses.
func startNode(ctx context.Context, targets []string, port int, store journal.Journal, entities ...sharding.Entity) (*holdfast.Node, error) {
	d, err := static.Parse(targets...)
	if err != nil {
		return nil, err
	}
	return holdfast.Start(ctx, holdfast.Config{
		Cluster: "bench", Entities: entities, Journal: store,
		Host: "127.0.0.1", ClusterPort: -1, ManagementPort: port, Discovery: d,
		Bootstrap:     bootstrap.Settings{RequiredContactPoints: len(targets), StableMargin: 100 * time.Millisecond},
		ProbeInterval: 50 * time.Millisecond, DrainIdle: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
}

// single starts a cluster of one node in this process, for the life of tb.
func single(tb testing.TB, store journal.Journal, entities ...sharding.Entity) *holdfast.Node {
	tb.Helper()
	ports, targets := freePorts(tb, 1)
	n, err := startNode(within(tb, time.Minute), targets, ports[0], store, entities...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Shutdown(context.Background()); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
	})
	return n
}

// process is a child that runs.
type process struct {
	ready

	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// spawn starts a child; wait waits until it serves.
func spawn(tb testing.TB, c child) (wait func() *process) {
	tb.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{cmd: exec.CommandContext(context.Background(), self)} // ended by its standard input
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = p.stdin.Close()
		late := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		if err := p.cmd.Wait(); err != nil {
			tb.Errorf("node in its own process: %v", err)
		}
	})
	return func() *process {
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &p.ready)
		}
		if err != nil {
			tb.Fatalf("node in its own process does not start: %q, %v", line, err)
		}
		return p
	}
}

// freePorts reserves management ports by binding and releasing them.
func freePorts(tb testing.TB, n int) (ports []int, targets []string) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // does not wait
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // released for the node
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			tb.Fatalf("listener has address %v", l.Addr())
		}
		ports, targets = append(ports, addr.Port), append(targets, addr.String())
	}
	return ports, targets
}

func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	tb.Cleanup(cancel)
	return ctx
}
