package remote_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
)

// childEnv makes this test binary a node of its own, see TestMain.
const childEnv = "REMOTE_TEST_CHILD"

func TestMain(m *testing.M) {
	if target := os.Getenv(childEnv); target != "" {
		if err := child(target); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child runs a node that opens a lane to its parent, tells its address, and
// goes on until it is killed.
func child(parent string) error {
	e, err := remote.New(remote.Config{Self: member.Node{ID: "child", Addr: "127.0.0.1:0"}, Cluster: "test"})
	if err != nil {
		return err
	}
	echo(e)
	e.Handle("silent", func(remote.Message) {})
	ran := make(chan error, 1)
	go func() { ran <- e.Run(context.Background()) }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := e.Ask(ctx, member.Node{ID: "parent", Addr: parent}, "echo", nil); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString(e.Self().Addr + "\n"); err != nil {
		return err
	}
	return <-ran
}

func TestSIGKILLOfAProcessIsNoticedAtOnce(t *testing.T) {
	lost := make(chan member.Node, 10)
	closed := make(chan string, 10)
	parent := start(t, remote.Config{Self: member.Node{ID: "parent"}, Events: remote.Events{
		LaneClosed: func(_ member.Node, _ remote.Class, reason string) { closed <- reason },
	}}, func(e *remote.Endpoint) {
		echo(e)
		e.OnLost(func(n member.Node) { lost <- n })
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+parent.Self().Addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	node := member.Node{ID: "child", Addr: strings.TrimSpace(addr)}
	answers := make(chan error, 1)
	for _, service := range []remote.Service{"echo", "silent"} {
		err := parent.Lane(node, remote.Data).Post(remote.Post{
			Service: service, Deadline: time.Now().Add(patience), Done: func(_ []byte, err error) { answers <- err },
		})
		if err != nil {
			t.Fatal(err)
		}
		if service == "echo" {
			if err := receive(t, answers, "the echo"); err != nil {
				t.Fatal(err)
			}
		}
	}
	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := receive(t, lost, "OnLost"); got != node {
		t.Errorf("OnLost: got %v, want %v", got, node)
	}
	noticed := time.Since(killed)
	var failed *remote.Error
	if err := receive(t, answers, "the failure"); !errors.As(err, &failed) || failed.Code != remote.CodeLaneLost {
		t.Errorf("the open ask: got %v, want lane-lost", err)
	}
	if got := parent.Probe(within(t), node); got != remote.Refused {
		t.Errorf("probe: got %s, want refused", got)
	}
	receive(t, closed, "the end of the lane")
	t.Logf("noticed after %s, lane closed after %s", noticed, time.Since(killed))
	if noticed > 2*time.Second {
		t.Errorf("noticed after %s, want milliseconds", noticed)
	}
}

func TestRunReturnsAfterItsLastGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	var nodes sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	var ends []*remote.Endpoint
	for i := range 3 {
		e, err := remote.New(remote.Config{Self: member.Node{ID: member.NodeID(fmt.Sprint("n", i)), Addr: "127.0.0.1:0"}, Cluster: "test"})
		if err != nil {
			t.Fatal(err)
		}
		echo(e)
		e.Handle("silent", func(remote.Message) {})
		e.OnLost(func(member.Node) {})
		e.AcceptStreams("x")
		ends = append(ends, e)
		nodes.Go(func() {
			if err := e.Run(ctx); err != nil {
				t.Errorf("Run: got %v, want nil", err)
			}
		})
	}
	failed := make(chan error, 100)
	asks := 0
	for _, a := range ends {
		for _, b := range ends {
			if _, err := a.Ask(within(t), b.Self(), "echo", nil); err != nil {
				t.Fatal(err)
			}
			if _, err := a.AskAddr(within(t), b.Self().Addr, "echo", nil); err != nil {
				t.Fatal(err)
			}
			if _, err := a.DialStream(within(t), b.Self(), "x"); err != nil {
				t.Fatal(err)
			}
			asks++
			if err := a.Lane(b.Self(), remote.Data).Post(remote.Post{Service: "silent", Deadline: time.Now().Add(time.Hour), Done: func(_ []byte, err error) { failed <- err }}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	nodes.Wait()
	for range asks {
		if err := receive(t, failed, "the end of an ask"); err == nil {
			t.Error("an open ask: got a reply, want an error")
		}
	}
	for _, e := range ends {
		if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", e.Self().Addr); err == nil {
			_ = c.Close()
			t.Error("after Run the address accepts a connection, want it refused")
		}
	}
	// What is left belongs to the runtime and to gRPC, which lets a goroutine
	// end a moment after the connection it served was closed.
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("got %d goroutines, want at most the %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

func TestProbesAreAnsweredUntilTheLastHandlerHasEnded(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	e, err := remote.New(remote.Config{Self: member.Node{ID: "busy", Addr: "127.0.0.1:0"}, Cluster: "test"})
	if err != nil {
		t.Fatal(err)
	}
	e.Handle("slow", func(remote.Message) { close(entered); <-release })
	e.AcceptStreams("x")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	client := start(t, remote.Config{Self: member.Node{ID: "client"}}, nil)
	if err := client.Lane(e.Self(), remote.Data).Post(remote.Post{Service: "slow"}); err != nil {
		t.Fatal(err)
	}
	receive(t, entered, "the message")
	cancel()
	for {
		_, err := client.DialStream(within(t), e.Self(), "x")
		var refused *remote.RefusedError
		if errors.As(err, &refused) && refused.Refusal == remote.RefusedClosing {
			break
		}
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("DialStream while it closes: got %v, want a refusal", err)
		}
	}
	if got := client.Probe(within(t), e.Self()); got != remote.Alive {
		t.Errorf("while a handler runs: got %s, want alive", got)
	}
	free()
	if err := receive(t, ended, "the end of Run"); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	if got := client.Probe(within(t), e.Self()); got != remote.Refused {
		t.Errorf("after Run: got %s, want refused", got)
	}
}

func TestAnAddressInUseIsNamedWithItsRemedy(t *testing.T) {
	e := start(t, remote.Config{Self: member.Node{ID: "a"}}, nil)
	_, err := remote.New(remote.Config{Self: member.Node{ID: "b", Addr: e.Self().Addr}, Cluster: "test"})
	if err == nil || !strings.Contains(err.Error(), e.Self().Addr+" is in use") || !strings.Contains(err.Error(), "BindAddr") {
		t.Errorf("got %v, want the address and the remedy", err)
	}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	err := remote.Config{
		Self: member.Node{Addr: "0.0.0.0:1"}, BindAddr: "nonsense", BatchBytes: 1, Bounds: remote.Bounds{QueueLen: -1, MaxMessage: 2 << 30},
		KeepAlive: remote.KeepAlive{Time: time.Millisecond}, TLS: remote.TLS{CertFile: "x"}, HandshakeTimeout: -1,
	}.Validate()
	for _, want := range []string{"Self.ID", "Self.Addr", "BindAddr", "Cluster", "BatchBytes", "QueueLen", "MaxMessage", "KeepAlive", "TLS.KeyFile", "HandshakeTimeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if err := (remote.Config{Self: member.Node{ID: "a", Addr: "127.0.0.1:1"}, Cluster: "c"}).Validate(); err != nil {
		t.Errorf("the least configuration: got %v, want nil", err)
	}
}

func TestTellsOnABrokenConnectionAreCounted(t *testing.T) {
	lost := make(chan int, 10)
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	handled := make(chan struct{}, 100)
	server := start(t, remote.Config{Self: member.Node{ID: "server"}}, func(e *remote.Endpoint) {
		echo(e)
		e.Handle("quick", func(remote.Message) { handled <- struct{}{} })
		e.Handle("stuck", func(remote.Message) { arrived <- struct{}{}; <-release })
	})
	client := start(t, remote.Config{Self: member.Node{ID: "client"}, Events: remote.Events{
		TellsLost: func(_ member.Node, _ remote.Class, n int) { lost <- n },
	}}, nil)
	l := client.Lane(server.Self(), remote.Data)
	tell := func(s remote.Service, n int) {
		for range n {
			if err := l.Post(remote.Post{Service: s}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tell("quick", 40)
	for range 40 {
		receive(t, handled, "a message")
	}
	done := make(chan error, 1)
	if err := l.Post(remote.Post{Service: "echo", Deadline: time.Now().Add(patience), Done: func(_ []byte, err error) { done <- err }}); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, done, "the echo"); err != nil { // its reply acknowledges what came before
		t.Fatal(err)
	}
	tell("stuck", 1)
	receive(t, arrived, "the message")
	server.Kill()
	// The packet of the echo may not have been counted as handled when its
	// reply left; it held no tell.
	if got := receive(t, lost, "the count"); got != 1 {
		t.Errorf("got %d tells lost, want 1", got)
	}
	free()
}
