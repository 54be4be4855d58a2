//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// childRole is the environment variable that makes the test binary act as a node.
const childRole = "SUPERVISOR_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

// child is the fake node.
func child(role string) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	switch role {
	case "polite":
		fmt.Println("ready")
		<-signals
		fmt.Println("bye")
		return 0
	case "stubborn":
		fmt.Println("ready")
		for range signals {
			fmt.Println("no")
		}
	case "refuses":
		fmt.Fprintln(os.Stderr, "journal: no such directory")
		return exitUsage
	case "fails":
		fmt.Println("failing")
		return 1
	case "babbles":
		fmt.Print("one\ntwo\r\n\n", strings.Repeat("x", maxLine+1), "\nopen end")
		return 0
	case "parent":
		s, err := New(Config{Nodes: []Node{fake("n", "calls")}, Output: NewOutput(os.Stdout, 0)})
		if err == nil {
			err = s.Run(context.Background())
		}
		fmt.Println(err)
	case "calls":
		// Whoever listens sees the connection end with this process.
		c, err := new(net.Dialer).DialContext(context.Background(), "tcp", os.Getenv("CALL"))
		if err != nil {
			return 1
		}
		if _, err := io.WriteString(c, "!"); err != nil {
			return 1
		}
		for range signals {
			continue
		}
	}
	return 1
}

func fake(name, role string) Node {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return Node{Name: name, Path: path, Env: append(os.Environ(), childRole+"="+role)}
}

// log collects output and wakes those who wait for it.
type log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLog() *log { return &log{changed: make(chan struct{})} }

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait until the text holds want n times.
func (l *log) wait(t *testing.T, want string, n int) {
	t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		text, changed := l.text.String(), l.changed
		l.mu.Unlock()
		if strings.Count(text, want) >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("output after %v: got %q, want %q %d times", patience, text, want, n)
		}
	}
}

type running struct {
	*Supervisor
	out  *log
	pids chan int
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{out: newLog(), pids: make(chan int, 100), done: make(chan error, 1)}
	cfg.Output = NewOutput(r.out, 3)
	cfg.Started = func(_ string, pid int) { r.pids <- pid }
	var err error
	if r.Supervisor, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- r.Run(ctx)
	}()
	t.Cleanup(func() {
		r.stop()
		r.Kill()
		<-ended
	})
	return r
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		t.Fatalf("Run did not return within %v; output %q", patience, r.out)
		return nil
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStopIsGraceful(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("one", "polite"), fake("two", "polite")}})
	r.out.wait(t, "ready\n", 2)
	r.stop()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	for _, want := range []string{"one | bye\n", "two | bye\n"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("output: got %q, want %q in it", r.out, want)
		}
	}
}

func TestAStubbornNodeIsKilled(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("one", "stubborn")}, StopWithin: 100 * time.Millisecond})
	r.out.wait(t, "ready\n", 1)
	pid := <-r.pids
	r.stop()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	if alive(pid) {
		t.Errorf("process %d is alive after Run has returned", pid)
	}
}

func TestKillDoesNotWait(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("one", "stubborn"), fake("two", "stubborn")}, StopWithin: time.Minute})
	r.out.wait(t, "ready\n", 2)
	r.stop()
	r.out.wait(t, "no\n", 2)
	r.Kill()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
}

func TestADeadNodeIsReplaced(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("one", "polite"), fake("two", "polite")}, ReplaceAfter: time.Millisecond})
	r.out.wait(t, "ready\n", 2)
	first, second := <-r.pids, <-r.pids
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.out.wait(t, "ready\n", 3)
	if third := <-r.pids; third == first || third == second {
		t.Errorf("pid of the replacement: got %d, want a new one", third)
	}
	if !alive(second) {
		t.Error("the other node died too")
	}
}

func TestWithoutReplacementTheLastExitEndsTheRun(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("one", "fails"), fake("two", "fails")}, ReplaceAfter: -1})
	if err := r.wait(t); !errors.Is(err, ErrNoNodeLeft) {
		t.Errorf("Run: got %v, want ErrNoNodeLeft", err)
	}
	if got := strings.Count(r.out.String(), "failing"); got != 2 {
		t.Errorf("starts: got %d, want one of each node", got)
	}
}

func TestARefusedConfigurationEndsTheRun(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("one", "polite"), fake("two", "refuses")}, ReplaceAfter: time.Millisecond})
	err := r.wait(t)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Name != "two" {
		t.Errorf("Run: got %v, want that two refused", err)
	}
	if !strings.Contains(r.out.String(), "two | journal: no such directory\n") {
		t.Errorf("output: got %q, want what two said", r.out)
	}
}

func TestAProgramThatCannotStartEndsTheRun(t *testing.T) {
	r := start(t, Config{Nodes: []Node{{Name: "one", Path: t.TempDir() + "/missing"}}})
	if err := r.wait(t); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "starting one") {
		t.Errorf("Run: got %v, want that the program of one does not exist", err)
	}
}

func TestOutputIsPrefixedLineByLine(t *testing.T) {
	r := start(t, Config{Nodes: []Node{fake("b", "babbles")}, ReplaceAfter: -1})
	if err := r.wait(t); !errors.Is(err, ErrNoNodeLeft) {
		t.Fatal(err)
	}
	got := strings.Split(r.out.String(), "\n")
	want := []string{"b   | one", "b   | two", "b   | ", "b   | " + strings.Repeat("x", maxLine), "b   | x", "b   | open end", ""}
	if !slices.Equal(got, want) {
		t.Errorf("lines: got %.100q, want %.100q", got, want)
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	_, err := New(Config{Nodes: []Node{{Name: "a"}, {Name: "a", Path: "x"}}, StopWithin: -1})
	if err == nil {
		t.Fatal("got nil, want the problems")
	}
	for _, want := range []string{"Nodes[0].Path", `Nodes[1].Name "a"`, "Output is required", "StopWithin is -1ns"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Nodes is empty") {
		t.Errorf("got %v, want that Nodes is empty", err)
	}
}
