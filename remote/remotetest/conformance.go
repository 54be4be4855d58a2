package remotetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
)

// Subject is a transport under test.
type Subject interface {
	remote.Transport
	SetGeneration(g uint64)
	Identify(ctx context.Context, addr string) (remote.Identity, error)
	ProbeAddr(ctx context.Context, addr string) (member.Node, error)
	AskAddr(ctx context.Context, addr string, s remote.Service, payload []byte) ([]byte, error)
}

// Factory makes the transports of one test.
type Factory interface {
	// New returns a transport that does not run yet; addr "" asks for a free one.
	New(t *testing.T, id member.NodeID, addr string, b remote.Bounds) Subject
	// Kill ends a transport as if its process had been killed.
	Kill(s Subject)
}

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Run runs the suite that every transport must pass. open is called once for
// each test.
func Run(t *testing.T, open func(t *testing.T) Factory) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *rig){
		"an ask gets its reply":                                        testAsk,
		"messages of a class arrive in order":                          testOrder,
		"an ask of an unknown service fails":                           testNoService,
		"an error of a handler reaches the asker":                      testHandlerError,
		"a panic in a handler is answered":                             testPanic,
		"only the first reply counts":                                  testReplyOnce,
		"an ask without a reply fails at its deadline":                 testDeadline,
		"an ask needs a deadline":                                      testNoDeadline,
		"a message over the bound is refused":                          testTooLarge,
		"a reply over the bound fails the ask":                         testReplyTooLarge,
		"a megabyte arrives":                                           testMegabyte,
		"20000 messages of 8 KiB arrive":                               testBulk,
		"a full queue refuses and tells when there is room":            testQueueFull,
		"an incarnation that is not there closes the lane":             testWrongIncarnation,
		"an address that refuses closes the lane":                      testRefusedLane,
		"a killed node is reported and its asks fail":                  testKill,
		"the acceptor of a lane learns that the dialer was killed":     testKillDialer,
		"forgetting a node closes its lanes":                           testForget,
		"a probe tells alive, replaced, refused and unknown apart":     testProbe,
		"an address can be identified and asked":                       testAddr,
		"nodes of different generations do not talk":                   testGenerations,
		"a stream carries bytes both ways and obeys deadlines":         testStream,
		"a stream breaks when its node is killed":                      testStreamKill,
		"a stream reaches only the incarnation and purpose it names":   testStreamRefused,
		"stopping fails what is open and closes the lanes":             testStop,
		"two lanes between the same nodes do not wait for one another": testClasses,
	} {
		t.Run(name, func(t *testing.T) { test(t, &rig{t: t, f: open(t)}) })
	}
}

// rig starts and stops the nodes of one test.
type rig struct {
	t *testing.T
	f Factory
}

type node struct {
	Subject
	stop func()
	lost chan member.Node
}

// start makes a node, lets prepare set it up, and runs it until the test ends.
func (r *rig) start(id member.NodeID, addr string, b remote.Bounds, prepare func(Subject)) *node {
	r.t.Helper()
	n := &node{Subject: r.f.New(r.t, id, addr, b), lost: make(chan member.Node, 1024)}
	n.OnLost(func(m member.Node) { n.lost <- m })
	if prepare != nil {
		prepare(n.Subject)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				r.t.Errorf("Run of %s: got %v, want nil", id, err)
			}
		case <-time.After(patience):
			r.t.Errorf("Run of %s did not return after its context ended", id)
		}
	})
	r.t.Cleanup(n.stop)
	return n
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// echo answers asks with their payload.
func echo(s Subject) {
	s.Handle("echo", func(m remote.Message) {
		if m.Reply != nil {
			m.Reply(m.Payload, nil)
		}
	})
}

// answer is how an ask ended.
type answer struct {
	payload []byte
	err     error
}

// post posts an ask without payload and returns where its answer arrives. More than one answer
// fails the test.
func (r *rig) post(l remote.Lane, s remote.Service, wait time.Duration) <-chan answer {
	r.t.Helper()
	answers := make(chan answer, 1)
	err := l.Post(remote.Post{Service: s, Deadline: time.Now().Add(wait), Done: func(p []byte, err error) {
		select {
		case answers <- answer{p, err}:
		default:
			r.t.Errorf("Done of an ask of %q was called twice", s)
		}
	}})
	if err != nil {
		r.t.Fatalf("Post to %s: got %v, want nil", l.To(), err)
	}
	return answers
}

// receive takes one value within the suite's patience.
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

// wantCode fails the test unless err is a remote error of the code.
func wantCode(t *testing.T, err error, want remote.Code) {
	t.Helper()
	var e *remote.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Fatalf("got error %v, want one of code %q", err, want)
	}
}

// postAll posts as fast as the queue allows.
func postAll(ctx context.Context, l remote.Lane, count int, post func(i int) remote.Post) error {
	for i := range count {
		for {
			err := l.Post(post(i))
			if err == nil {
				break
			}
			if !errors.Is(err, remote.ErrQueueFull) {
				return fmt.Errorf("message %d: %w", i, err)
			}
			if err := l.WaitRoom(ctx); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
	}
	return nil
}

// eventually repeats check, each time with a fresh network round trip as its
// pace, until it holds.
func (r *rig) eventually(what string, check func(ctx context.Context) bool) {
	r.t.Helper()
	ctx := r.context()
	for !check(ctx) {
		if ctx.Err() != nil {
			r.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
