package remote

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// samples are frames with each field at its edges.
func samples() []frame {
	return []frame{
		{},
		{ask: 1, remaining: 1, service: "s", payload: []byte("p"), code: "c", text: "t"},
		{ask: 127, remaining: 128, service: strings.Repeat("s", 127), payload: bytes.Repeat([]byte("p"), 128)},
		{ask: 1<<64 - 1, remaining: 1<<64 - 1, service: strings.Repeat("s", 255), payload: bytes.Repeat([]byte("p"), 70000), code: "x", text: strings.Repeat("t", 5000)},
	}
}

func generated(f frame) *remotev1.Frame {
	return &remotev1.Frame{Ask: f.ask, RemainingMicros: f.remaining, Service: f.service, Payload: f.payload, Code: f.code, Text: f.text}
}

func (f *arrived) frame() frame {
	return frame{ask: f.ask, remaining: f.remaining, service: string(f.service), payload: f.payload, code: string(f.code), text: string(f.text)}
}

func TestGeneratedCodeReadsWhatTheHandWrittenCodecWrites(t *testing.T) {
	var pool bufferPool
	data, err := codec{}.Marshal(pool.encode(samples(), 300))
	if err != nil {
		t.Fatal(err)
	}
	got := new(remotev1.Packet)
	if err := proto.Unmarshal(data.Materialize(), got); err != nil {
		t.Fatal(err)
	}
	want := &remotev1.Packet{Handled: 300}
	for _, f := range samples() {
		want.Frames = append(want.Frames, generated(f))
	}
	if !proto.Equal(got, want) {
		t.Errorf("got another packet (%d frames, handled %d), want the %d frames that were written", len(got.GetFrames()), got.GetHandled(), len(want.GetFrames()))
	}
}

func TestTheHandWrittenCodecReadsWhatGeneratedCodeWrites(t *testing.T) {
	packet := &remotev1.Packet{
		Hello: &remotev1.Hello{FromId: "a", Attempt: 3}, Welcome: &remotev1.Welcome{Id: "b", Refusal: "busy"}, Handled: 1 << 40,
	}
	for _, f := range samples() {
		packet.Frames = append(packet.Frames, generated(f))
	}
	data, err := proto.Marshal(packet)
	if err != nil {
		t.Fatal(err)
	}
	// A field of a newer version is skipped.
	data = append(data, 0xfa, 0x01, 3, 'n', 'e', 'w', 0xf5, 0x01, 1, 2, 3, 4)
	in := new(packetIn)
	if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, in); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(in.hello, packet.GetHello()) || !proto.Equal(in.welcome, packet.GetWelcome()) || in.handled != packet.GetHandled() {
		t.Errorf("got %v, %v, %d, want what was written", in.hello, in.welcome, in.handled)
	}
	if len(in.frames) != len(samples()) {
		t.Fatalf("got %d frames, want %d", len(in.frames), len(samples()))
	}
	for i, f := range samples() {
		if got := in.frames[i].frame(); !proto.Equal(generated(got), generated(f)) {
			t.Errorf("frame %d: got ask %d with %d bytes, want ask %d with %d", i, got.ask, len(got.payload), f.ask, len(f.payload))
		}
	}
}

func TestAFrameThatIsBrokenBehindItsNumberIsReportedAlone(t *testing.T) {
	good := (&frame{ask: 7, service: "s"}).append(nil)
	broken := append((&frame{ask: 8}).append(nil), 0x1a, 100, 'x') // a service of 100 bytes, cut off
	packet := appendBytes(appendBytes(nil, packetFrames, broken), packetFrames, good)
	in := new(packetIn)
	if err := in.decode(packet); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if len(in.frames) != 2 || in.frames[0].malformed == nil || in.frames[0].ask != 8 || in.frames[1].malformed != nil || in.frames[1].ask != 7 {
		t.Errorf("got %+v, want ask 8 malformed and ask 7 in order", in.frames)
	}
	if err := in.decode(appendBytes(nil, packetFrames, []byte{0x1a, 100, 'x'})); err == nil {
		t.Error("a frame without a number: got nil, want an error for the whole packet")
	}
}

// FuzzPacket holds the decoder of packets against the generated one.
func FuzzPacket(f *testing.F) {
	var pool bufferPool
	data, err := codec{}.Marshal(pool.encode(samples()[:3], 5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data.Materialize())
	f.Add([]byte{})
	f.Add([]byte{0x1a, 0x02, 0x08, 0x80})
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x0a, 0x03, 0x0a, 0x01, 0xff})
	f.Add([]byte{0x1b, 0x1c})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := new(packetIn)
		err := in.decode(bytes.Clone(data))
		want := new(remotev1.Packet)
		if proto.Unmarshal(data, want) != nil || err != nil {
			return // whether both refuse the same is not asked: UTF-8 is not checked here
		}
		if len(in.frames) != len(want.GetFrames()) {
			t.Fatalf("got %d frames, want %d", len(in.frames), len(want.GetFrames()))
		}
		for i := range in.frames {
			if in.frames[i].malformed != nil {
				t.Fatalf("frame %d: got malformed: %v, want what generated code reads", i, in.frames[i].malformed)
			}
			got, want := generated(in.frames[i].frame()), want.GetFrames()[i]
			want.ProtoReflect().SetUnknown(nil)
			if !proto.Equal(got, want) {
				t.Fatalf("frame %d: got %v, want %v", i, got, want)
			}
		}
	})
}

// FuzzHello feeds the first bytes of a raw connection.
func FuzzHello(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 3, 0x12, 1, 'x'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0x10, 0x01, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := readBlock(bytes.NewReader(data))
		if err != nil {
			return
		}
		if len(body) > maxHello {
			t.Fatalf("got %d bytes, want at most %d", len(body), maxHello)
		}
		h := new(remotev1.Hello)
		if proto.Unmarshal(body, h) != nil {
			return
		}
		e := &Endpoint{cfg: Config{Cluster: "c"}}
		if w := e.judge(h); len(w.GetText()) > 4*maxName+200 {
			t.Fatalf("got a text of %d bytes, want a bounded one", len(w.GetText()))
		}
	})
}
