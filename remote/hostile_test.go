package remote_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/cluster/member"
	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
	"github.com/holdfast-go/holdfast/remote"
)

// raw returns the bytes of a raw handshake.
func raw(t *testing.T, h *remotev1.Hello) []byte {
	t.Helper()
	body, err := proto.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte("HOLDFAST"), uint32(len(body))), body...)
}

func TestGarbageOnThePortEndsItsConnectionAndNothingElse(t *testing.T) {
	var garbage atomic.Int64
	server := start(t, remote.Config{
		Self: member.Node{ID: "server"}, HandshakeTimeout: 200 * time.Millisecond,
		Events: remote.Events{Garbage: func(string) { garbage.Add(1) }},
	}, echo)
	client := start(t, remote.Config{Self: member.Node{ID: "client"}}, nil)
	if _, err := client.Ask(within(t), server.Self(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	client.OnLost(func(member.Node) { t.Error("OnLost was called, want the lane to stay") })
	random := make([]byte, 4096)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	random[0] = 0xff
	whole := raw(t, &remotev1.Hello{Protocol: 1, Cluster: "test", FromId: "x", FromAddr: "x:1", ToId: "server", Purpose: "stream/x"})
	for name, bytesIn := range map[string][]byte{
		"random bytes":            random,
		"an http/1 request":       []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a hello cut off":         whole[:len(whole)-3],
		"a hello that is huge":    append([]byte("HOLDFAST"), 0x7f, 0xff, 0xff, 0xff, 1, 2, 3),
		"a hello of no protobuf":  append([]byte("HOLDFAST"), 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff),
		"nothing at all":          nil,
		"half a magic":            []byte("HOLD"),
		"http/2 and then random":  append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), random...),
		"http/2 and then silence": []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Self().Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Write(bytesIn); err != nil && !errors.Is(err, io.EOF) {
				t.Logf("write: %v", err) // it may be closed already
			}
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Errorf("the connection is still open after %s, want it closed", patience)
				}
			}
			if got, err := client.Ask(within(t), server.Self(), "echo", []byte("x")); err != nil || string(got) != "x" {
				t.Errorf("other traffic: got %q, %v, want an echo", got, err)
			}
		})
	}
	if got := garbage.Load(); got < 7 {
		t.Errorf("got %d connections counted as garbage, want at least 7", got)
	}
}

func TestManyConnectionsWithoutAHandshakeAreBounded(t *testing.T) {
	overload := make(chan string, 100)
	server := start(t, remote.Config{
		Self: member.Node{ID: "server"}, MaxHandshakes: 3, HandshakeTimeout: time.Second,
		Events: remote.Events{Overload: func(from string) { overload <- from }},
	}, echo)
	var silent []net.Conn
	for range 4 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Self().Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		silent = append(silent, c)
	}
	receive(t, overload, "the report of an overload")
	// They are thrown out after the timeout, and then there is room again.
	if err := silent[0].SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent[0].Read(make([]byte, 1)); err == nil {
		t.Error("got a byte, want the connection closed")
	}
	client := start(t, remote.Config{Self: member.Node{ID: "client"}}, nil)
	if _, err := client.Ask(within(t), server.Self(), "echo", nil); err != nil {
		t.Errorf("after the timeout: got %v, want nil", err)
	}
}

func TestAWrongHelloIsRefusedWithItsReason(t *testing.T) {
	refusals := make(chan remote.Refusal, 100)
	server := start(t, remote.Config{
		Self: member.Node{ID: "server"}, Generation: 4,
		Events: remote.Events{HelloRefused: func(_ string, why remote.Refusal) { refusals <- why }},
	}, func(e *remote.Endpoint) { echo(e); e.AcceptStreams("x") })
	good := func(change func(*remotev1.Hello)) *remotev1.Hello {
		h := &remotev1.Hello{Protocol: remote.ProtocolVersion, Cluster: "test", FromId: "me", FromAddr: "127.0.0.1:1", ToId: "server", Generation: 4, Attempt: 1}
		change(h)
		return h
	}
	for name, c := range map[string]struct {
		change func(*remotev1.Hello)
		want   remote.Refusal
		text   string
	}{
		"another protocol":   {func(h *remotev1.Hello) { h.Protocol = 99 }, remote.RefusedProtocol, "99"},
		"another cluster":    {func(h *remotev1.Hello) { h.Cluster = "prod" }, remote.RefusedCluster, `"prod"`},
		"another node":       {func(h *remotev1.Hello) { h.ToId = "gone" }, remote.RefusedNode, "server lives at"},
		"no node":            {func(h *remotev1.Hello) { h.ToId = "" }, remote.RefusedMalformed, "does not name the node"},
		"no caller":          {func(h *remotev1.Hello) { h.FromId = "" }, remote.RefusedMalformed, "does not name itself"},
		"another generation": {func(h *remotev1.Hello) { h.Generation = 5 }, remote.RefusedGeneration, "generation 4"},
	} {
		for _, purpose := range []string{"lane", "stream/x"} {
			t.Run(name+", "+purpose, func(t *testing.T) {
				h := good(c.change)
				h.Purpose = purpose
				var w *remotev1.Welcome
				if purpose == "lane" {
					w = greetLane(t, server.Self().Addr, h)
				} else {
					w = greetRaw(t, server.Self().Addr, h)
				}
				if w.GetRefusal() != string(c.want) || !strings.Contains(w.GetText(), c.text) || w.GetId() != "server" {
					t.Errorf("got refusal %q, text %q by %q, want %q with %q by the server", w.GetRefusal(), w.GetText(), w.GetId(), c.want, c.text)
				}
				if got := receive(t, refusals, "the event"); got != c.want {
					t.Errorf("event: got %q, want %q", got, c.want)
				}
			})
		}
	}
}

func greetRaw(t *testing.T, addr string, h *remotev1.Hello) *remotev1.Welcome {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(raw(t, h)); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil || len(all) < 4 || int(binary.BigEndian.Uint32(all)) != len(all)-4 {
		t.Fatalf("got %x, %v, want one welcome and the end", all, err)
	}
	w := new(remotev1.Welcome)
	if err := proto.Unmarshal(all[4:], w); err != nil {
		t.Fatal(err)
	}
	return w
}

// dialLane opens a lane with the generated client, as a foreign program would.
func dialLane(t *testing.T, addr string) grpc.BidiStreamingClient[remotev1.Packet, remotev1.Packet] {
	t.Helper()
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	stream, err := remotev1.NewLanesClient(cc).Lane(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func greetLane(t *testing.T, addr string, h *remotev1.Hello) *remotev1.Welcome {
	t.Helper()
	stream := dialLane(t, addr)
	if err := stream.Send(&remotev1.Packet{Hello: h}); err != nil {
		t.Fatal(err)
	}
	p, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); p.GetWelcome().GetRefusal() != "" && status.Code(err) != codes.FailedPrecondition {
		t.Errorf("after the refusal: got %v, want the stream to end with FailedPrecondition", err)
	}
	return p.GetWelcome()
}

func laneHello(attempt uint64) *remotev1.Hello {
	return &remotev1.Hello{Protocol: remote.ProtocolVersion, Cluster: "test", FromId: "me", FromAddr: "127.0.0.1:1", ToId: "server", Purpose: "lane", Attempt: attempt}
}

func TestTheGeneratedClientCanAskOverALane(t *testing.T) {
	server := start(t, remote.Config{Self: member.Node{ID: "server"}}, echo)
	stream := dialLane(t, server.Self().Addr)
	if err := stream.Send(&remotev1.Packet{Hello: laneHello(1)}); err != nil {
		t.Fatal(err)
	}
	if p, err := stream.Recv(); err != nil || p.GetWelcome().GetId() != "server" || p.GetWelcome().GetRefusal() != "" {
		t.Fatalf("got %v, %v, want a welcome", p, err)
	}
	if err := stream.Send(&remotev1.Packet{Frames: []*remotev1.Frame{
		{Ask: 5, RemainingMicros: 1e6, Service: "echo", Payload: []byte("x")}, {Ask: 6, Service: "no \xff such"[:3]},
	}}); err != nil {
		t.Fatal(err)
	}
	var got []*remotev1.Frame
	for len(got) < 2 {
		p, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.GetFrames()...)
	}
	if got[0].GetAsk() != 5 || !bytes.Equal(got[0].GetPayload(), []byte("x")) || got[1].GetAsk() != 6 || got[1].GetCode() != string(remote.CodeNoService) {
		t.Errorf("got %v, want an echo and no-service", got)
	}
}

func TestAMalformedPacketEndsTheLaneWithItsReason(t *testing.T) {
	server := start(t, remote.Config{Self: member.Node{ID: "server"}}, echo)
	cc, err := grpc.NewClient(server.Self().Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := cc.NewStream(within(t), desc, remotev1.Lanes_Lane_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&remotev1.Packet{Hello: laneHello(1)}); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(remotev1.Packet)); err != nil {
		t.Fatal(err)
	}
	// A frame whose service is longer than the frame, behind a good number.
	broken := new(remotev1.Packet)
	broken.ProtoReflect().SetUnknown([]byte{0x1a, 5, 0x08, 9, 0x1a, 100, 'x'})
	if err := stream.SendMsg(broken); err != nil {
		t.Fatal(err)
	}
	p := new(remotev1.Packet)
	if err := stream.RecvMsg(p); err != nil || len(p.GetFrames()) != 1 || p.GetFrames()[0].GetAsk() != 9 || p.GetFrames()[0].GetCode() != string(remote.CodeMalformed) {
		t.Fatalf("got %v, %v, want ask 9 answered as malformed", p, err)
	}
	// One without a number: nobody but the lane can be told.
	broken.ProtoReflect().SetUnknown([]byte{0x1a, 3, 0x1a, 100, 'x'})
	if err := stream.SendMsg(broken); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(p); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("got %v, want InvalidArgument that says malformed", err)
	}
	client := start(t, remote.Config{Self: member.Node{ID: "client"}}, nil)
	if _, err := client.Ask(within(t), server.Self(), "echo", nil); err != nil {
		t.Errorf("another lane: got %v, want nil", err)
	}
}

func TestANewerConnectionOfALaneDisplacesTheOlderOne(t *testing.T) {
	server := start(t, remote.Config{Self: member.Node{ID: "server"}}, echo)
	open := func(attempt uint64) (grpc.BidiStreamingClient[remotev1.Packet, remotev1.Packet], *remotev1.Welcome) {
		s := dialLane(t, server.Self().Addr)
		if err := s.Send(&remotev1.Packet{Hello: laneHello(attempt)}); err != nil {
			t.Fatal(err)
		}
		p, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return s, p.GetWelcome()
	}
	first, w := open(1)
	if w.GetRefusal() != "" {
		t.Fatalf("first: got refusal %q, want none", w.GetRefusal())
	}
	if _, w = open(3); w.GetRefusal() != "" {
		t.Fatalf("newer: got refusal %q, want none", w.GetRefusal())
	}
	if _, err := first.Recv(); err == nil {
		t.Error("the older one: got a packet, want its end")
	}
	if _, w = open(2); w.GetRefusal() != string(remote.RefusedBusy) {
		t.Errorf("one that comes late: got refusal %q, want busy", w.GetRefusal())
	}
}

func TestNodesOfDifferentClustersDoNotTalk(t *testing.T) {
	a := start(t, remote.Config{Self: member.Node{ID: "a"}, Cluster: "blue"}, nil)
	b := start(t, remote.Config{Self: member.Node{ID: "b"}, Cluster: "green"}, func(e *remote.Endpoint) { echo(e); e.AcceptStreams("x") })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var failed *remote.Error
	if _, err := a.Ask(ctx, b.Self(), "echo", nil); !errors.As(err, &failed) || failed.Code != remote.CodeNotSent {
		t.Errorf("Ask: got %v, want not-sent", err)
	}
	var refused *remote.RefusedError
	if _, err := a.DialStream(within(t), b.Self(), "x"); !errors.As(err, &refused) || refused.Refusal != remote.RefusedCluster {
		t.Errorf("DialStream: got %v, want a refusal because of the cluster", err)
	}
	if _, err := a.ProbeAddr(within(t), b.Self().Addr); !errors.As(err, &refused) || refused.Refusal != remote.RefusedCluster {
		t.Errorf("ProbeAddr: got %v, want a refusal because of the cluster", err)
	}
	// Whoever it is: the incarnation that is asked for does not live there.
	if got := a.Probe(within(t), member.Node{ID: "blue-before", Addr: b.Self().Addr}); got != remote.Replaced {
		t.Errorf("Probe: got %s, want replaced", got)
	}
}

func TestTellsAreAcknowledgedWithoutAReplyToTravelWith(t *testing.T) {
	server := start(t, remote.Config{Self: member.Node{ID: "server"}}, echo)
	stream := dialLane(t, server.Self().Addr)
	for _, p := range []*remotev1.Packet{{Hello: laneHello(1)}, {Frames: []*remotev1.Frame{{Service: "echo"}}}} {
		if err := stream.Send(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.Recv(); err != nil { // the welcome
		t.Fatal(err)
	}
	if p, err := stream.Recv(); err != nil || p.GetHandled() != 1 {
		t.Errorf("got %v, %v, want 1 packet acknowledged", p, err)
	}
}
