package remote_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-go/holdfast/cluster/member"
	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
	"github.com/holdfast-go/holdfast/remote"
)

const (
	inFlight    = 256
	payloadSize = 100
)

// BenchmarkAsks compares asks over a lane with the floor: a bare gRPC stream
// that echoes packets of generated code. Both keep 256 asks of 100 bytes in
// flight over loopback, client and server in this process.
func BenchmarkAsks(b *testing.B) {
	var floor float64
	b.Run("bare batched stream", func(b *testing.B) { floor = benchmarkBare(b) })
	b.Run("lane", func(b *testing.B) {
		if lane := benchmarkLane(b); floor > 0 {
			b.ReportMetric(lane/floor, "of-bare")
		}
	})
}

func benchmarkLane(b *testing.B) float64 {
	start := func(id member.NodeID) *remote.Endpoint {
		e, err := remote.New(remote.Config{Self: member.Node{ID: id, Addr: "127.0.0.1:0"}, Cluster: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		e.Handle("echo", func(m remote.Message) { m.Reply(m.Payload, nil) })
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { _ = e.Run(ctx) })
		b.Cleanup(func() { cancel(); run.Wait() })
		return e
	}
	client, server := start("a"), start("b")
	lane := client.Lane(server.Self(), remote.Data)
	payload := make([]byte, payloadSize)
	if _, err := client.Ask(context.Background(), server.Self(), "echo", payload); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	slots := make(chan struct{}, inFlight)
	done := func(_ []byte, err error) {
		if err != nil {
			b.Error(err)
		}
		<-slots
	}
	b.ResetTimer()
	begin := time.Now()
	for range b.N {
		slots <- struct{}{}
		if err := lane.Post(remote.Post{Service: "echo", Payload: payload, Deadline: time.Now().Add(time.Minute), Done: done}); err != nil {
			b.Fatal(err)
		}
	}
	for range inFlight {
		slots <- struct{}{}
	}
	b.StopTimer()
	rate := float64(b.N) / time.Since(begin).Seconds()
	b.ReportMetric(rate, "asks/s")
	return rate
}

type echoServer struct {
	remotev1.UnimplementedLanesServer
}

func (echoServer) Lane(s grpc.BidiStreamingServer[remotev1.Packet, remotev1.Packet]) error {
	for {
		p, err := s.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client ended it
		}
		if err := s.Send(p); err != nil {
			return err
		}
	}
}

func benchmarkBare(b *testing.B) float64 {
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer()
	remotev1.RegisterLanesServer(server, echoServer{})
	var run sync.WaitGroup
	run.Go(func() { _ = server.Serve(l) })
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	var reader sync.WaitGroup
	b.Cleanup(func() { reader.Wait(); _ = cc.Close(); server.Stop(); run.Wait() })
	stream, err := remotev1.NewLanesClient(cc).Lane(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, payloadSize)
	b.ReportAllocs()
	slots := make(chan struct{}, inFlight)
	asks := make(chan *remotev1.Frame, inFlight)
	run.Go(func() {
		for {
			f, ok := <-asks
			if !ok {
				_ = stream.CloseSend()
				return
			}
			p := &remotev1.Packet{Frames: []*remotev1.Frame{f}}
		fill:
			for {
				select {
				case f, ok := <-asks:
					if !ok {
						break fill
					}
					p.Frames = append(p.Frames, f)
				default:
					break fill
				}
			}
			if err := stream.Send(p); err != nil {
				return
			}
		}
	})
	reader.Go(func() {
		for {
			p, err := stream.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					b.Error(err)
				}
				return
			}
			for range p.GetFrames() {
				<-slots
			}
		}
	})
	b.ResetTimer()
	begin := time.Now()
	for i := range b.N {
		slots <- struct{}{}
		asks <- &remotev1.Frame{Ask: uint64(i + 1), Service: "echo", Payload: payload}
	}
	for range inFlight {
		slots <- struct{}{}
	}
	b.StopTimer()
	rate := float64(b.N) / time.Since(begin).Seconds()
	b.ReportMetric(rate, "asks/s")
	close(asks)
	return rate
}
