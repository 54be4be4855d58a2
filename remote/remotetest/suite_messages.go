package remotetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/remote"
)

func testAsk(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("who", func(m remote.Message) {
			m.Reply([]byte(m.From.String()+" "+string(m.Payload)), nil)
		})
	})
	got, err := a.Ask(r.context(), b.Self(), "who", []byte("calls"))
	if want := a.Self().String() + " calls"; err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
	if l := a.Lane(b.Self(), remote.Data); l != a.Lane(b.Self(), remote.Data) {
		t.Error("got two lanes for one class and node, want the same one")
	}
	if got := a.Lane(b.Self(), remote.Data).To(); got != b.Self() {
		t.Errorf("To: got %v, want %v", got, b.Self())
	}
}

func testOrder(t *testing.T, r *rig) {
	const count = 5000
	got := make(chan uint64, count)
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("n", func(m remote.Message) { got <- binary.BigEndian.Uint64(m.Payload) })
	})
	err := postAll(r.context(), a.Lane(b.Self(), remote.Data), count, func(i int) remote.Post {
		return remote.Post{Service: "n", Payload: binary.BigEndian.AppendUint64(nil, uint64(i))}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(count) {
		if n := receive(t, got, "a message"); n != i {
			t.Fatalf("got message %d, want %d", n, i)
		}
	}
}

func testNoService(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, nil)
	_, err := a.Ask(r.context(), b.Self(), "nowhere", nil)
	wantCode(t, err, remote.CodeNoService)
	if !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %q, want it to name the service", err)
	}
}

func testHandlerError(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("plain", func(m remote.Message) { m.Reply(nil, errors.New("out of stock")) })
		s.Handle("coded", func(m remote.Message) { m.Reply(nil, &remote.Error{Code: "moved", Text: "to c"}) })
	})
	_, err := a.Ask(r.context(), b.Self(), "plain", nil)
	wantCode(t, err, remote.CodeHandler)
	if !strings.Contains(err.Error(), "out of stock") {
		t.Errorf("got %q, want the handler's text in it", err)
	}
	_, err = a.Ask(r.context(), b.Self(), "coded", nil)
	wantCode(t, err, "moved")
}

func testPanic(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		echo(s)
		s.Handle("bad", func(remote.Message) { panic("a bug") })
	})
	_, err := a.Ask(r.context(), b.Self(), "bad", nil)
	wantCode(t, err, remote.CodeHandler)
	if got, err := a.Ask(r.context(), b.Self(), "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Fatalf("after the panic: got %q, %v, want an echo", got, err)
	}
}

func testReplyOnce(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("twice", func(m remote.Message) {
			m.Reply([]byte("first"), nil)
			m.Reply([]byte("second"), nil)
		})
	})
	for range 10 {
		if got, err := a.Ask(r.context(), b.Self(), "twice", nil); err != nil || string(got) != "first" {
			t.Fatalf("got %q, %v, want the first reply", got, err)
		}
	}
}

func testDeadline(t *testing.T, r *rig) {
	const wait = 100 * time.Millisecond
	left := make(chan time.Duration, 1)
	late := make(chan func([]byte, error), 1)
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		echo(s)
		s.Handle("silent", func(m remote.Message) {
			left <- time.Until(m.Deadline)
			late <- m.Reply
		})
	})
	start := time.Now()
	got := receive(t, r.post(a.Lane(b.Self(), remote.Data), "silent", wait), "the failure")
	wantCode(t, got.err, remote.CodeTimeout)
	if took := time.Since(start); took < wait {
		t.Errorf("the ask failed after %s, want not before %s", took, wait)
	}
	if d := receive(t, left, "the message"); d > wait {
		t.Errorf("the handler had %s left, want at most %s", d, wait)
	}
	receive(t, late, "the reply function")([]byte("too late"), nil)
	if got, err := a.Ask(r.context(), b.Self(), "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Fatalf("after a late reply: got %q, %v, want an echo", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { receive(t, left, "the second message"); cancel() }()
	_, err := a.Ask(ctx, b.Self(), "silent", nil)
	wantCode(t, err, remote.CodeTimeout)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to be context.Canceled", err)
	}
}

func testNoDeadline(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	err := a.Lane(a.Self(), remote.Data).Post(remote.Post{Service: "x", Done: func([]byte, error) { t.Error("Done was called after Post returned an error") }})
	wantCode(t, err, remote.CodeNotSent)
}

func testTooLarge(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{MaxMessage: 1000}, nil)
	b := r.start("b", "", remote.Bounds{MaxMessage: 1000}, echo)
	_, err := a.Ask(r.context(), b.Self(), "echo", make([]byte, 1001))
	wantCode(t, err, remote.CodeTooLarge)
	if got, err := a.Ask(r.context(), b.Self(), "echo", make([]byte, 1000)); err != nil || len(got) != 1000 {
		t.Fatalf("at the bound: got %d bytes, %v, want 1000", len(got), err)
	}
}

func testReplyTooLarge(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{MaxMessage: 1000}, nil)
	b := r.start("b", "", remote.Bounds{MaxMessage: 1000}, func(s Subject) {
		s.Handle("much", func(m remote.Message) { m.Reply(make([]byte, 1001), nil) })
	})
	_, err := a.Ask(r.context(), b.Self(), "much", nil)
	wantCode(t, err, remote.CodeHandler)
}

func testMegabyte(t *testing.T, r *rig) {
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, echo)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	got, err := a.Ask(r.context(), b.Self(), "echo", want)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, %v, want the %d bytes that were sent", len(got), err, len(want))
	}
}

func testBulk(t *testing.T, r *rig) {
	const count, size = 20000, 8 << 10
	got := make(chan []byte, count)
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		s.Handle("bulk", func(m remote.Message) { got <- m.Payload })
	})
	payload := func(i int) []byte {
		p := bytes.Repeat([]byte{byte(i)}, size)
		binary.BigEndian.PutUint64(p, uint64(i))
		return p
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		err := postAll(r.context(), a.Lane(b.Self(), remote.Data), count, func(i int) remote.Post {
			return remote.Post{Service: "bulk", Payload: payload(i)}
		})
		if err != nil {
			t.Error(err)
		}
	})
	defer sender.Wait()
	for i := range count {
		if p := receive(t, got, "a message"); !bytes.Equal(p, payload(i)) {
			t.Fatalf("message %d: got %d bytes starting %x, want what was sent", i, len(p), p[:min(8, len(p))])
		}
	}
}

func testQueueFull(t *testing.T, r *rig) {
	const size = 64 << 10
	bounds := remote.Bounds{QueueLen: 32, QueueBytes: 32 * size}
	release := make(chan struct{})
	handled := make(chan struct{}, 1<<16)
	a := r.start("a", "", bounds, nil)
	b := r.start("b", "", bounds, func(s Subject) {
		s.Handle("slow", func(remote.Message) {
			<-release
			handled <- struct{}{}
		})
	})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	l := a.Lane(b.Self(), remote.Data)
	posted := 0
	full := func() bool {
		for posted < 1<<16 {
			err := l.Post(remote.Post{Service: "slow", Payload: make([]byte, size)})
			if errors.Is(err, remote.ErrQueueFull) {
				return true
			}
			if err != nil {
				t.Fatalf("Post: got %v, want nil or ErrQueueFull", err)
			}
			posted++
		}
		return false
	}
	// The queue drains into the connection until that is full, too.
	for {
		if !full() {
			t.Fatalf("posted %d messages to a handler that reads none, want ErrQueueFull", posted)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		err := l.WaitRoom(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatalf("WaitRoom: got %v, want nil or the context's error", err)
		}
	}
	woken := make(chan error, 1)
	go func() { woken <- l.WaitRoom(context.Background()) }()
	free()
	if err := receive(t, woken, "room"); err != nil {
		t.Fatalf("WaitRoom: got %v, want nil", err)
	}
	if err := l.Post(remote.Post{Service: "slow"}); err != nil {
		t.Fatalf("Post after WaitRoom: got %v, want nil", err)
	}
	for range posted + 1 {
		receive(t, handled, "a message")
	}
}

func testClasses(t *testing.T, r *rig) {
	release := make(chan struct{})
	a := r.start("a", "", remote.Bounds{}, nil)
	b := r.start("b", "", remote.Bounds{}, func(s Subject) {
		echo(s)
		s.Handle("stuck", func(remote.Message) { <-release })
	})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	if err := a.Lane(b.Self(), remote.Data).Post(remote.Post{Service: "stuck"}); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Ask(r.context(), b.Self(), "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Fatalf("on the control lane: got %q, %v, want an echo", got, err)
	}
}
