//go:build unix

package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// numNodes is how many nodes the bank has.
	numNodes = 3
	// goneWithin bounds how long ports may stay taken after all was killed.
	goneWithin = 10 * time.Second
)

// build builds demo-bank and returns its path.
func build(t *testing.T) string {
	t.Helper()
	touchSources(t)
	bin := filepath.Join(t.TempDir(), "demo-bank")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../cmd/demo-bank")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building cmd/demo-bank: %v\n%s", err, out)
	}
	return bin
}

// touchSources reads all sources of the module, which the go command does not
// know that this test depends on: else it would show a result of older ones from
// its cache.
func touchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") || d.Name() == "go.mod":
			_, err = os.ReadFile(path)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatalf("reading the sources: %v", err)
	}
}

// ports of the front door and the nodes, from one base as dev wants it.
type ports struct{ base int }

func (p ports) addr(offset int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.base+offset))
}
func (p ports) door() string { return p.addr(0) }

// The ports of node i, 1 to numNodes.
func (p ports) api(i int) string        { return p.addr(100*i + 1) }
func (p ports) management(i int) string { return p.addr(100*i + 2) }
func (p ports) cluster(i int) string    { return p.addr(100*i + 20) }

func (p ports) all() []string {
	all := []string{p.door()}
	for i := 1; i <= numNodes; i++ {
		all = append(all, p.api(i), p.management(i), p.cluster(i))
	}
	return all
}

// free reports whether all ports are free.
func (p ports) free(ctx context.Context) bool {
	for _, addr := range p.all() {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil || l.Close() != nil {
			return false
		}
	}
	return true
}

// freePorts finds a base whose ports are all free, below those that the system
// gives to outgoing connections.
func freePorts(t *testing.T) ports {
	t.Helper()
	for range 100 {
		if p := (ports{10_000 + 10*rand.IntN(2_000)}); p.free(t.Context()) {
			return p
		}
	}
	t.Fatal("no base with free ports found in 100 tries")
	return ports{}
}

// bank is a running `demo-bank dev`, and what its output told.
type bank struct {
	bin, data string
	ports     ports
	log       io.Writer

	cmd  *exec.Cmd
	done chan struct{} // closed when dev has ended and its output is read
	err  error         // of dev, when done is closed

	mu sync.Mutex
	// pids of nodes that run, ready ones as the front door sees it; both by node,
	// 1 to numNodes
	pids  map[int]int
	ready map[int]bool
	// voters are the ids of members that have ever had a vote
	voters map[string]bool
	tail   []string // the last lines without those that come in crowds
}

// start starts dev. Whatever happens in the test, no process is left.
func (b *bank) start(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	b.pids, b.ready, b.voters, b.done = map[int]int{}, map[int]bool{}, map[string]bool{}, make(chan struct{})
	b.mu.Unlock()
	//nolint:noctx // the test stops it itself: a context would leave its nodes no time
	b.cmd = exec.Command(b.bin, "dev", fmt.Sprintf("--nodes=%d", numNodes), "--data="+b.data, fmt.Sprintf("--base-port=%d", b.ports.base))
	b.cmd.SysProcAttr = processAttributes()
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd.Stderr = b.cmd.Stdout
	started := make(chan error)
	go func() {
		// Where the system kills a child whose parent ends it means the thread.
		runtime.LockOSThread()
		err := b.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		b.read(out)
		b.err = b.cmd.Wait()
		close(b.done)
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting dev: %v", err)
	}
	t.Cleanup(func() { b.destroy(t) })
}

// destroy kills everything and makes sure that it is gone.
func (b *bank) destroy(t *testing.T) {
	t.Helper()
	select {
	case <-b.done:
	default:
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it may have ended just now
	}
	b.mu.Lock()
	for _, pid := range b.pids { // each is a group of its own
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	b.mu.Unlock()
	<-b.done
	if err := until(context.WithoutCancel(t.Context()), goneWithin, func(ctx context.Context) error {
		if !b.ports.free(ctx) {
			return errors.New("ports are still taken")
		}
		return nil
	}); err != nil {
		t.Errorf("after the end of all processes: %v", err)
	}
}

var (
	nodeStarted = regexp.MustCompile(`msg="node started" node=node-(\d) pid=(\d+)`)
	nodeExited  = regexp.MustCompile(`msg="node exited" node=node-(\d)`)
	nodeVotes   = regexp.MustCompile(`step="voter added" member=(\w+)|msg="in the cluster" node=(\w+) action=form`)
	nodeReady   = regexp.MustCompile(`msg="target is (ready|not ready)" target=node-(\d)`)
)

// read follows the output of dev until it ends.
func (b *bank) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			_, _ = io.WriteString(b.log, line) // a log that cannot be written is missed when it is needed
			b.note(line)
		}
		if err != nil {
			return
		}
	}
}

func (b *bank) note(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := nodeStarted.FindStringSubmatch(line); m != nil {
		b.pids[number(m[1])] = number(m[2])
	} else if m := nodeExited.FindStringSubmatch(line); m != nil {
		delete(b.pids, number(m[1]))
	} else if m := nodeReady.FindStringSubmatch(line); m != nil {
		b.ready[number(m[2])] = m[1] == "ready"
	} else if m := nodeVotes.FindStringSubmatch(line); m != nil {
		b.voters[m[1]+m[2]] = true
	}
	if !strings.Contains(line, "placement changed") && !strings.Contains(line, `msg="connection refused"`) {
		b.tail = append(b.tail, line[:min(len(line), 500)])
		b.tail = b.tail[max(0, len(b.tail)-60):]
	}
}

func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0 // too long for a node or a pid
	}
	return n
}

// pid of a node, 0 when it does not run.
func (b *bank) pid(i int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pids[i]
}

// doorSees reports which nodes the front door passes connections to.
func (b *bank) doorSees(i int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready[i]
}

// votes reports whether a member was given a vote.
func (b *bank) votes(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.voters[id]
}

// signal sends a signal to a node's process and returns when it was sent.
func (b *bank) signal(t *testing.T, i int, s syscall.Signal) time.Time {
	t.Helper()
	pid := b.pid(i)
	if pid == 0 {
		t.Fatalf("node %d does not run", i)
	}
	now := time.Now()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatalf("sending %v to node %d, process %d: %v", s, i, pid, err)
	}
	return now
}

// stop tells dev to stop and waits until it has.
func (b *bank) stop(t *testing.T, within time.Duration) {
	t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatalf("stopping dev: %v", err)
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-b.done:
	case <-timer.C:
		t.Fatalf("dev has not stopped %v after SIGINT", within)
	}
	if b.err != nil {
		t.Errorf("dev ended with %v, want nil", b.err)
	}
}

// lastLines of the output, for a test that failed.
func (b *bank) lastLines() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.tail, "")
}

// until polls until check returns nil, at most for within.
func until(ctx context.Context, within time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not after %v: %w", within, err)
		}
	}
}
