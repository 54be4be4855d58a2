package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// The bare stream is what an ask over the network cannot do without: one gRPC
// stream of generated code on which packets of many messages go to another
// process and come back.

// bareServer echoes packets.
type bareServer struct {
	remotev1.UnimplementedLanesServer

	addr   string
	server *grpc.Server
	run    sync.WaitGroup
}

func listenBare() (*bareServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // does not wait
	if err != nil {
		return nil, err
	}
	s := &bareServer{addr: l.Addr().String(), server: grpc.NewServer()}
	remotev1.RegisterLanesServer(s.server, s)
	s.run.Go(func() { _ = s.server.Serve(l) })
	return s, nil
}

func (s *bareServer) stop() {
	s.server.Stop()
	s.run.Wait()
}

// Lane implements remotev1.LanesServer.
func (s *bareServer) Lane(g grpc.BidiStreamingServer[remotev1.Packet, remotev1.Packet]) error {
	for {
		p, err := g.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := g.Send(p); err != nil {
			return err
		}
	}
}

// bareClient has one stream to a bareServer.
type bareClient struct {
	tb      testing.TB
	payload []byte
	asks    chan *remotev1.Frame
	// gathers makes the writer wait for those who are about to ask, as a lane does.
	gathers atomic.Bool
	// replied is called by the reader for each echo; it changes between turns.
	replied atomic.Pointer[func(ask uint64)]
}

// dialBare opens a stream for the life of tb.
func dialBare(tb testing.TB, addr string, payload []byte) *bareClient {
	tb.Helper()
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := remotev1.NewLanesClient(cc).Lane(ctx)
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	c := &bareClient{tb: tb, payload: payload, asks: make(chan *remotev1.Frame, flight)}
	var run sync.WaitGroup
	run.Go(func() { c.write(stream) })
	run.Go(func() { c.read(stream) })
	tb.Cleanup(func() {
		close(c.asks)
		run.Wait()
		cancel()
		_ = cc.Close()
	})
	return c
}

// write sends what waits, as one packet.
func (c *bareClient) write(stream grpc.BidiStreamingClient[remotev1.Packet, remotev1.Packet]) {
	for f := range c.asks {
		if c.gathers.Load() {
			runtime.Gosched() // those who are about to ask get into this packet, as on a lane
		}
		p := &remotev1.Packet{Frames: []*remotev1.Frame{f}}
		for more := true; more; {
			select {
			case f, ok := <-c.asks:
				if more = ok; ok {
					p.Frames = append(p.Frames, f)
				}
			default:
				more = false
			}
		}
		if err := stream.Send(p); err != nil {
			c.tb.Errorf("bare stream: %v", err)
			return
		}
	}
	_ = stream.CloseSend()
}

func (c *bareClient) read(stream grpc.BidiStreamingClient[remotev1.Packet, remotev1.Packet]) {
	for {
		p, err := stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.tb.Errorf("bare stream: %v", err)
			}
			return
		}
		replied := *c.replied.Load()
		for _, f := range p.GetFrames() {
			replied(f.GetAsk())
		}
	}
}

func (c *bareClient) frame(ask uint64) *remotev1.Frame {
	return &remotev1.Frame{Ask: ask, Service: "echo", Payload: c.payload}
}

// window keeps flight messages on their way; one goroutine sends, nobody waits
// for a message of its own.
func (c *bareClient) window(d time.Duration) float64 {
	c.gathers.Store(true)
	slots := make(chan struct{}, flight)
	replied := func(uint64) { <-slots }
	c.replied.Store(&replied)
	begin, n := time.Now(), 0
	for ; n%64 != 0 || time.Since(begin) < d; n++ {
		slots <- struct{}{}
		c.asks <- c.frame(uint64(n + 1))
	}
	for range flight {
		slots <- struct{}{}
	}
	return float64(n) / time.Since(begin).Seconds()
}

// plain has flight goroutines that send a message and wait for its echo, and a
// writer that sends what waits.
func (c *bareClient) plain(d time.Duration) float64 {
	c.gathers.Store(false)
	return c.callers(d)
}

// gathered is plain with the writer of a lane, which makes larger packets.
func (c *bareClient) gathered(d time.Duration) float64 {
	c.gathers.Store(true)
	return c.callers(d)
}

func (c *bareClient) callers(d time.Duration) float64 {
	waiting := make([]chan struct{}, flight)
	for i := range waiting {
		waiting[i] = make(chan struct{}, 1)
	}
	replied := func(ask uint64) { waiting[ask-1] <- struct{}{} }
	c.replied.Store(&replied)
	return inFlight(c.tb, flight, d, func(caller, _ int) error {
		c.asks <- c.frame(uint64(caller + 1))
		<-waiting[caller]
		return nil
	})
}

// inFlight has callers call again and again for d and returns the calls per
// second.
func inFlight(tb testing.TB, callers int, d time.Duration, call func(caller, n int) error) float64 {
	tb.Helper()
	var total atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		wg.Go(func() {
			n := 0
			for ; n%8 != 0 || time.Since(begin) < d; n++ {
				if err := call(caller, n); err != nil {
					tb.Errorf("caller %d: %v", caller, err)
					break
				}
			}
			total.Add(int64(n))
		})
	}
	wg.Wait()
	return float64(total.Load()) / time.Since(begin).Seconds()
}
