package remotetest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
)

func testWrongIncarnation(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, echo)
	before := member.Node{ID: "b-before", Addr: b.Self().Addr}
	l := a.Lane(before, remote.Data)
	got := receive(t, r.post(l, "echo", patience), "the failure")
	wantCode(t, got.err, remote.CodeNotSent)
	if !errors.Is(got.err, remote.ErrClosed) {
		t.Errorf("got %v, want it to be ErrClosed", got.err)
	}
	if err := l.Post(remote.Post{Service: "echo"}); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Post later: got %v, want ErrClosed", err)
	}
	if err := l.WaitRoom(r.context()); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("WaitRoom later: got %v, want ErrClosed", err)
	}
}

func testRefusedLane(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, nil)
	b.stop()
	l := a.Lane(b.Self(), remote.Data)
	got := receive(t, r.post(l, "echo", patience), "the failure")
	wantCode(t, got.err, remote.CodeNotSent)
	if err := l.Post(remote.Post{Service: "echo"}); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Post later: got %v, want ErrClosed", err)
	}
}

// wantLost waits until n reports that it lost a connection with lost.
func wantLost(t *testing.T, n *node, lost member.Node) {
	t.Helper()
	for got := (member.Node{}); got != lost; {
		got = receive(t, n.lost, "OnLost for "+lost.String())
	}
}

func testKill(t *testing.T, r *rig) {
	arrived := make(chan struct{}, 8)
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("silent", func(remote.Message) { arrived <- struct{}{} })
	})
	l := a.Lane(b.Self(), remote.Data)
	answers := r.post(l, "silent", patience)
	receive(t, arrived, "the message")
	r.f.Kill(b.Subject)
	wantLost(t, a, b.Self())
	wantCode(t, receive(t, answers, "the failure").err, remote.CodeLaneLost)
	// The lane finds out that the node is gone for good.
	if got := a.Probe(r.context(), b.Self()); got != remote.Refused {
		t.Errorf("probe: got %s, want refused", got)
	}
	r.eventually("the lane to a killed node closes", func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := a.Ask(ctx, b.Self(), "silent", nil)
		a.Probe(ctx, b.Self())
		return errors.Is(err, remote.ErrClosed)
	})
}

func testKillDialer(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, echo)
	if _, err := a.Ask(r.context(), b.Self(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	r.f.Kill(a.Subject)
	wantLost(t, b, a.Self())
}

func testForget(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("silent", func(remote.Message) {})
		echo(s)
	})
	if _, err := a.Ask(r.context(), b.Self(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	l := a.Lane(b.Self(), remote.Control)
	answers := r.post(l, "silent", patience)
	a.Forget(b.Self().ID)
	if err := receive(t, answers, "the failure").err; !errors.Is(err, remote.ErrClosed) {
		t.Errorf("the open ask: got %v, want ErrClosed", err)
	}
	for _, l := range []remote.Lane{l, a.Lane(b.Self(), remote.Control), a.Lane(b.Self(), remote.Data)} {
		if err := l.Post(remote.Post{Service: "echo"}); !errors.Is(err, remote.ErrClosed) {
			t.Errorf("Post later: got %v, want ErrClosed", err)
		}
	}
}

func testProbe(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, nil)
	if got := a.Probe(r.context(), b.Self()); got != remote.Alive {
		t.Errorf("a node that runs: got %s, want alive", got)
	}
	if got := a.Probe(r.context(), member.Node{ID: "earlier", Addr: b.Self().Addr}); got != remote.Replaced {
		t.Errorf("an earlier incarnation: got %s, want replaced", got)
	}
	mute := r.f.New(t, "mute", "", remote.Bounds{}) // listens and never runs
	ctx, cancel := context.WithTimeout(r.context(), 200*time.Millisecond)
	defer cancel()
	if got := a.Probe(ctx, mute.Self()); got != remote.Unknown {
		t.Errorf("a node that does not answer: got %s, want unknown", got)
	}
	b.stop()
	if got := a.Probe(r.context(), b.Self()); got != remote.Refused {
		t.Errorf("a node that stopped: got %s, want refused", got)
	}
	again := r.start("b2", b.Self().Addr, remote.Bounds{}, nil)
	if got := a.Probe(r.context(), b.Self()); got != remote.Replaced {
		t.Errorf("a node that was replaced: got %s, want replaced", got)
	}
	if got := a.Probe(r.context(), again.Self()); got != remote.Alive {
		t.Errorf("the node that replaced it: got %s, want alive", got)
	}
}

func testAddr(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, echo)
	b.SetGeneration(7)
	got, err := a.ProbeAddr(r.context(), b.Self().Addr)
	if err != nil || got != b.Self() {
		t.Fatalf("ProbeAddr: got %v, %v, want %v", got, err, b.Self())
	}
	id, err := a.Identify(r.context(), b.Self().Addr)
	if err != nil || id.Node != b.Self() || id.Generation != 7 {
		t.Fatalf("Identify: got %+v, %v, want %v of generation 7", id, err, b.Self())
	}
	a.SetGeneration(6) // asking an address is how nodes of two generations find each other
	reply, err := a.AskAddr(r.context(), b.Self().Addr, "echo", []byte("x"))
	if err != nil || string(reply) != "x" {
		t.Fatalf("AskAddr: got %q, %v, want an echo", reply, err)
	}
	b.stop()
	if _, err := a.ProbeAddr(r.context(), b.Self().Addr); err == nil {
		t.Error("ProbeAddr where nobody listens: got nil, want an error")
	}
	_, err = a.AskAddr(r.context(), b.Self().Addr, "echo", nil)
	wantCode(t, err, remote.CodeNotSent)
}

func testGenerations(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, func(s Subject) { s.SetGeneration(1) })
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.SetGeneration(2)
		s.AcceptStreams("x")
		echo(s)
	})
	ctx, cancel := context.WithTimeout(r.context(), 200*time.Millisecond)
	defer cancel()
	_, err := a.Ask(ctx, b.Self(), "echo", nil)
	wantCode(t, err, remote.CodeNotSent)
	_, err = a.DialStream(r.context(), b.Self(), "x")
	var refused *remote.RefusedError
	if !errors.As(err, &refused) || refused.Refusal != remote.RefusedGeneration {
		t.Errorf("DialStream: got %v, want a refusal because of the generation", err)
	}
	if got := a.Probe(r.context(), b.Self()); got != remote.Alive {
		t.Errorf("probe: got %s, want alive", got)
	}
	a.SetGeneration(2) // the lane tries on
	if got, err := a.Ask(r.context(), b.Self(), "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Fatalf("in one generation: got %q, %v, want an echo", got, err)
	}
	b.SetGeneration(3) // what is connected breaks
	wantLost(t, b, a.Self())
	ctx, cancel = context.WithTimeout(r.context(), 200*time.Millisecond)
	defer cancel()
	if _, err = a.Ask(ctx, b.Self(), "echo", nil); err == nil {
		t.Error("after one node went on to the next generation: got a reply, want an error")
	}
	a.SetGeneration(0)
	if got, err := a.Ask(r.context(), b.Self(), "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Fatalf("without a generation: got %q, %v, want an echo", got, err)
	}
}

// openStream returns both ends of a stream.
func openStream(t *testing.T, r *rig, from, to *node, accepting net.Listener) (dialed, accepted net.Conn) {
	t.Helper()
	conns := make(chan net.Conn, 1)
	go func() {
		if c, err := accepting.Accept(); err == nil {
			conns <- c
		}
	}()
	dialed, err := from.DialStream(r.context(), to.Self(), "x")
	if err != nil {
		t.Fatalf("DialStream: got %v, want nil", err)
	}
	accepted = receive(t, conns, "the stream")
	t.Cleanup(func() { _ = dialed.Close(); _ = accepted.Close() })
	return dialed, accepted
}

func testStream(t *testing.T, r *rig) {
	var l net.Listener
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) { l = s.AcceptStreams("x") })
	one, two := openStream(t, r, a, b, l)
	const size = 3 << 20
	for _, way := range []struct{ from, to net.Conn }{{one, two}, {two, one}} {
		sent := make(chan error, 1)
		go func() {
			_, err := way.from.Write(make([]byte, size))
			sent <- err
		}()
		if n, err := io.ReadFull(way.to, make([]byte, size)); err != nil {
			t.Fatalf("got %d bytes, %v, want %d", n, err, size)
		}
		if err := receive(t, sent, "the end of Write"); err != nil {
			t.Fatalf("Write: got %v, want nil", err)
		}
	}
	if err := one.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read past the deadline: got %v, want os.ErrDeadlineExceeded", err)
	}
	var timeout net.Error
	if _, err := one.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Read past the deadline: got %v, want a net.Error that is a timeout", err)
	}
	if err := one.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(one); err != nil || string(got) != "last" {
		t.Errorf("after Close of the other end: got %q, %v, want \"last\" and the end", got, err)
	}
	if _, err := two.Read(make([]byte, 1)); err == nil {
		t.Error("Read of a closed stream: got nil, want an error")
	}
}

func testStreamKill(t *testing.T, r *rig) {
	var l net.Listener
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) { l = s.AcceptStreams("x") })
	one, _ := openStream(t, r, a, b, l)
	ended := make(chan error, 1)
	go func() {
		_, err := one.Read(make([]byte, 1))
		ended <- err
	}()
	r.f.Kill(b.Subject)
	if err := receive(t, ended, "the end of Read"); err == nil {
		t.Error("Read: got nil, want an error")
	}
	wantLost(t, a, b.Self())
}

func testStreamRefused(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) { s.AcceptStreams("x") })
	var refused *remote.RefusedError
	_, err := a.DialStream(r.context(), b.Self(), "y")
	if !errors.As(err, &refused) || refused.Refusal != remote.RefusedPurpose {
		t.Errorf("another purpose: got %v, want a refusal because of the purpose", err)
	}
	_, err = a.DialStream(r.context(), member.Node{ID: "earlier", Addr: b.Self().Addr}, "x")
	if !errors.As(err, &refused) || refused.Refusal != remote.RefusedNode {
		t.Errorf("another incarnation: got %v, want a refusal because of the node", err)
	}
	b.stop()
	if _, err = a.DialStream(r.context(), b.Self(), "x"); err == nil {
		t.Error("a node that stopped: got nil, want an error")
	}
}

func testStop(t *testing.T, r *rig) {
	arrived := make(chan struct{}, 1)
	a := r.start("a", "", remote.Bounds{}, nil)
	var l net.Listener
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("silent", func(remote.Message) { arrived <- struct{}{} })
		l = s.AcceptStreams("x")
	})
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	lane := a.Lane(b.Self(), remote.Data)
	answers := r.post(lane, "silent", patience)
	receive(t, arrived, "the message")
	b.stop()
	if err := receive(t, accepted, "the end of Accept"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after stop: got %v, want net.ErrClosed", err)
	}
	wantLost(t, a, b.Self())
	wantCode(t, receive(t, answers, "the failure").err, remote.CodeLaneLost)
	a.stop()
	if err := a.Lane(b.Self(), remote.Control).Post(remote.Post{Service: "silent"}); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Post after stop: got %v, want ErrClosed", err)
	}
	if _, err := a.Ask(r.context(), b.Self(), "silent", nil); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Ask after stop: got %v, want ErrClosed", err)
	}
}
