package remotetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/remote/remotetest"
)

// world is a network with running nodes inside a bubble.
type world struct {
	t    *testing.T
	net  *remotetest.Network
	stop []func()
	lost map[member.NodeID]chan member.Node
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: remotetest.NewNetwork(7), lost: map[member.NodeID]chan member.Node{}}
		test(t, w)
		for _, stop := range w.stop {
			stop()
		}
	})
}

func (w *world) node(id member.NodeID, addr string, prepare func(*remotetest.Node)) *remotetest.Node {
	w.t.Helper()
	n := w.net.Node(member.Node{ID: id, Addr: addr})
	n.Handle("echo", func(m remote.Message) {
		if m.Reply != nil {
			m.Reply(m.Payload, nil)
		}
	})
	lost := make(chan member.Node, 100)
	w.lost[id] = lost
	n.OnLost(func(m member.Node) { lost <- m })
	if prepare != nil {
		prepare(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	w.stop = append(w.stop, func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: got %v, want nil", err)
		}
	})
	synctest.Wait()
	return n
}

// ask asks with a timeout of virtual time and says how long it took.
func ask(n *remotetest.Node, to member.Node, timeout time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	_, err := n.Ask(ctx, to, "echo", nil)
	return time.Since(start), err
}

func wantCode(t *testing.T, err error, want remote.Code) {
	t.Helper()
	var e *remote.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("got %v, want code %q", err, want)
	}
}

func TestDelayAddsToEachWay(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", "h1:1", nil), w.node("b", "h2:1", nil)
		if _, err := ask(a, b.Self(), time.Second); err != nil {
			t.Fatal(err)
		}
		w.net.Delay(a.Self(), b.Self(), 30*time.Millisecond)
		w.net.Delay(b.Self(), a.Self(), 20*time.Millisecond)
		if took, err := ask(a, b.Self(), time.Second); err != nil || took != 50*time.Millisecond {
			t.Errorf("got %s, %v, want 50ms", took, err)
		}
	})
}

func TestDropLosesMessagesButKeepsTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var got []byte
		a := w.node("a", "h1:1", nil)
		b := w.node("b", "h2:1", func(n *remotetest.Node) {
			n.Handle("n", func(m remote.Message) { got = append(got, m.Payload[0]) })
		})
		w.net.Drop(a.Self(), b.Self(), 0.5)
		for i := range 200 {
			if err := a.Lane(b.Self(), remote.Data).Post(remote.Post{Service: "n", Payload: []byte{byte(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(got) < 60 || len(got) > 140 || !slices.IsSorted(got) {
			t.Errorf("got %d messages, sorted %t, want about 100 in order", len(got), slices.IsSorted(got))
		}
		w.net.Drop(a.Self(), b.Self(), 0)
		w.net.Drop(b.Self(), a.Self(), 1)
		_, err := ask(a, b.Self(), time.Second)
		wantCode(t, err, remote.CodeTimeout)
	})
}

func TestWhatIsSentIntoAShortCutArrivesAfterIt(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", "h1:1", nil), w.node("b", "h2:1", nil)
		if _, err := ask(a, b.Self(), time.Second); err != nil {
			t.Fatal(err)
		}
		w.net.Cut(a.Self(), b.Self())
		time.AfterFunc(2*time.Second, w.net.Heal)
		if took, err := ask(a, b.Self(), 10*time.Second); err != nil || took != 2*time.Second {
			t.Errorf("got %s, %v, want 2s", took, err)
		}
		if len(w.lost["a"]) != 0 {
			t.Error("OnLost was called, want the connection to survive")
		}
	})
}

func TestALongCutBreaksTheConnectionAtBothEnds(t *testing.T) {
	for _, oneWay := range []bool{false, true} {
		t.Run(fmt.Sprintf("one way %t", oneWay), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.net.BreakAfter(5 * time.Second)
				a, b := w.node("a", "h1:1", nil), w.node("b", "h2:1", nil)
				if _, err := ask(a, b.Self(), time.Second); err != nil {
					t.Fatal(err)
				}
				cut := time.Now()
				if w.net.CutOneWay(a.Self(), b.Self()); !oneWay {
					w.net.Cut(a.Self(), b.Self())
				}
				_, err := ask(a, b.Self(), time.Minute)
				wantCode(t, err, remote.CodeLaneLost)
				if took := time.Since(cut); took != 5*time.Second {
					t.Errorf("broke after %s, want 5s", took)
				}
				if got := <-w.lost["a"]; got != b.Self() {
					t.Errorf("OnLost at the dialer: got %v, want %v", got, b.Self())
				}
				if got := <-w.lost["b"]; got != a.Self() {
					t.Errorf("OnLost at the acceptor: got %v, want %v", got, a.Self())
				}
				if got := a.Probe(context.Background(), b.Self()); got != remote.Unknown {
					t.Errorf("probe through the cut: got %s, want unknown", got)
				}
				_, err = ask(a, b.Self(), time.Second)
				wantCode(t, err, remote.CodeNotSent)
				w.net.Heal()
				if _, err := ask(a, b.Self(), 10*time.Second); err != nil {
					t.Errorf("after healing: got %v, want nil", err)
				}
			})
		})
	}
}

func TestAHungNodeNeitherAnswersNorRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", "h1:1", nil), w.node("b", "h2:1", nil)
		if _, err := ask(a, b.Self(), time.Second); err != nil {
			t.Fatal(err)
		}
		w.net.Hang(b.Self())
		if got := a.Probe(context.Background(), b.Self()); got != remote.Unknown {
			t.Errorf("probe: got %s, want unknown", got)
		}
		_, err := ask(a, b.Self(), time.Second)
		wantCode(t, err, remote.CodeTimeout)
		w.net.Resume(b.Self())
		if _, err := ask(a, b.Self(), time.Second); err != nil {
			t.Errorf("after it went on: got %v, want nil", err)
		}
		if got := a.Probe(context.Background(), b.Self()); got != remote.Alive {
			t.Errorf("probe after it went on: got %s, want alive", got)
		}
	})
}

func TestAKilledNodeBehindACutIsNoticedWhenTheCutIsHealed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.node("a", "h1:1", nil), w.node("b", "h2:1", nil)
		if _, err := ask(a, b.Self(), time.Second); err != nil {
			t.Fatal(err)
		}
		w.net.Cut(a.Self(), b.Self())
		w.net.Kill(b.Self())
		synctest.Wait()
		if len(w.lost["a"]) != 0 {
			t.Error("OnLost came through the cut, want it to wait")
		}
		if got := a.Probe(context.Background(), b.Self()); got != remote.Unknown {
			t.Errorf("probe through the cut: got %s, want unknown", got)
		}
		w.net.Heal()
		if got := <-w.lost["a"]; got != b.Self() {
			t.Errorf("OnLost: got %v, want %v", got, b.Self())
		}
		if got := a.Probe(context.Background(), b.Self()); got != remote.Refused {
			t.Errorf("probe: got %s, want refused", got)
		}
		if err := b.Lane(a.Self(), remote.Data).Post(remote.Post{Service: "echo"}); err == nil {
			if _, err := ask(b, a.Self(), time.Second); err == nil {
				t.Error("a killed node got an answer, want none")
			}
		}
		again := w.node("b2", "h2:1", nil)
		if got := a.Probe(context.Background(), b.Self()); got != remote.Replaced {
			t.Errorf("probe of the earlier incarnation: got %s, want replaced", got)
		}
		if _, err := ask(a, again.Self(), time.Second); err != nil {
			t.Errorf("the next incarnation: got %v, want nil", err)
		}
	})
}

func TestAStreamWaitsInACutAndBreaksWithALongOne(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var l net.Listener
		a := w.node("a", "h1:1", nil)
		b := w.node("b", "h2:1", func(n *remotetest.Node) { l = n.AcceptStreams("raft") })
		out, err := a.DialStream(context.Background(), b.Self(), "raft")
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		w.net.Delay(a.Self(), b.Self(), 40*time.Millisecond)
		start := time.Now()
		if _, err := out.Write([]byte("one")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(in, make([]byte, 3)); err != nil || time.Since(start) != 40*time.Millisecond {
			t.Errorf("got %v after %s, want nil after 40ms", err, time.Since(start))
		}
		w.net.CutOneWay(a.Self(), b.Self())
		if _, err := out.Write([]byte("two")); err != nil {
			t.Fatal(err)
		}
		if err := in.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := in.Read(make([]byte, 3)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Read in the cut: got %v, want a timeout", err)
		}
		if err := in.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Read(make([]byte, 3)); err == nil {
			t.Error("Read in a long cut: got nil, want an error")
		}
		if got := <-w.lost["b"]; got != a.Self() {
			t.Errorf("OnLost: got %v, want %v", got, a.Self())
		}
	})
}
