package remote

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// The packets of lanes are written and read by hand: the generated code would
// copy each payload and allocate for each frame. The bytes are those of
// proto/remote/v1; a test holds the two against each other.

// Tags of the fields: number and wire type. All take one byte.
const (
	packetHello   = 1<<3 | byte(protowire.BytesType)
	packetWelcome = 2<<3 | byte(protowire.BytesType)
	packetFrames  = 3<<3 | byte(protowire.BytesType)
	packetHandled = 4<<3 | byte(protowire.VarintType)

	frameAsk       = 1<<3 | byte(protowire.VarintType)
	frameRemaining = 2<<3 | byte(protowire.VarintType)
	frameService   = 3<<3 | byte(protowire.BytesType)
	framePayload   = 4<<3 | byte(protowire.BytesType)
	frameCode      = 5<<3 | byte(protowire.BytesType)
	frameText      = 6<<3 | byte(protowire.BytesType)
)

// frame is a message or a reply on its way.
type frame struct {
	ask       uint64
	remaining uint64 // microseconds
	service   string
	payload   []byte
	code      string
	text      string
}

// arrived is a frame as it came in: its fields lie in the packet's buffer.
type arrived struct {
	ask       uint64
	remaining uint64
	service   []byte
	payload   []byte
	code      []byte
	text      []byte
	malformed error
}

// packetOut is an encoded packet.
type packetOut struct{ data mem.BufferSlice }

// packetIn is a decoded packet. It can be used again for the next one.
type packetIn struct {
	hello   *remotev1.Hello
	welcome *remotev1.Welcome
	frames  []arrived
	handled uint64
	// malformed says why the packet could not be decoded.
	malformed error
}

// codec lets gRPC carry packets.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	p, ok := v.(*packetOut)
	if !ok {
		return nil, fmt.Errorf("remote: cannot send a %T on a lane", v)
	}
	return p.data, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	p, ok := v.(*packetIn)
	if !ok {
		return fmt.Errorf("remote: cannot receive a %T on a lane", v)
	}
	// The buffers go back to gRPC's pool, and payloads belong to handlers.
	// gRPC would end the stream by itself, with a status of its own choice.
	p.malformed = p.decode(data.Materialize())
	return nil
}

// receive reads the next packet of a stream.
func (p *packetIn) receive(s interface{ RecvMsg(m any) error }) error {
	if err := s.RecvMsg(p); err != nil {
		return err
	}
	return p.malformed
}

// bufferPool keeps the buffers of packets.
type bufferPool struct{ pool sync.Pool }

// Get implements [mem.BufferPool].
func (b *bufferPool) Get(length int) *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		if cap(*buf) >= length {
			*buf = (*buf)[:length]
			return buf
		}
	}
	buf := make([]byte, length, max(length, 4<<10))
	return &buf
}

// Put implements [mem.BufferPool].
func (b *bufferPool) Put(buf *[]byte) {
	if cap(*buf) <= maxPooled {
		b.pool.Put(buf)
	}
}

// maxPooled is the largest buffer that is kept for the next packet.
const maxPooled = 1 << 20

// encode returns the packet with the given frames in a buffer of the pool.
func (b *bufferPool) encode(frames []frame, handled uint64) *packetOut {
	size := 0
	for i := range frames {
		n := frames[i].size()
		size += 1 + protowire.SizeVarint(uint64(n)) + n
	}
	size += sizeUint(handled)
	buf := b.Get(size)
	out := (*buf)[:0]
	for i := range frames {
		f := &frames[i]
		out = append(out, packetFrames)
		out = protowire.AppendVarint(out, uint64(f.size()))
		out = f.append(out)
	}
	out = appendUint(out, packetHandled, handled)
	*buf = out
	return &packetOut{data: mem.BufferSlice{mem.NewBuffer(buf, b)}}
}

// encodeControl returns a packet with a hello or welcome alone.
func encodeControl(p *remotev1.Packet) (*packetOut, error) {
	data, err := proto.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("remote: encode handshake: %w", err)
	}
	return &packetOut{data: mem.BufferSlice{mem.SliceBuffer(data)}}, nil
}

func (f *frame) size() int {
	return sizeUint(f.ask) + sizeUint(f.remaining) + sizeBytes(len(f.service)) + sizeBytes(len(f.payload)) +
		sizeBytes(len(f.code)) + sizeBytes(len(f.text))
}

func (f *frame) append(out []byte) []byte {
	out = appendUint(out, frameAsk, f.ask)
	out = appendUint(out, frameRemaining, f.remaining)
	out = appendBytes(out, frameService, f.service)
	out = appendBytes(out, framePayload, f.payload)
	out = appendBytes(out, frameCode, f.code)
	return appendBytes(out, frameText, f.text)
}

func sizeUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(uint64(n)) + n
}

func appendUint(out []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return out
	}
	return protowire.AppendVarint(append(out, tag), v)
}

func appendBytes[T string | []byte](out []byte, tag byte, v T) []byte {
	if len(v) == 0 {
		return out
	}
	out = append(out, tag)
	return append(protowire.AppendVarint(out, uint64(len(v))), v...)
}

// decode reads a packet whose frames keep pointing into b.
func (p *packetIn) decode(b []byte) error {
	clear(p.frames)
	p.hello, p.welcome, p.handled, p.frames = nil, nil, 0, p.frames[:0]
	return eachField(b, func(tag byte, value []byte, v uint64) error {
		switch tag {
		case packetHello:
			p.hello = new(remotev1.Hello)
			return proto.Unmarshal(value, p.hello)
		case packetWelcome:
			p.welcome = new(remotev1.Welcome)
			return proto.Unmarshal(value, p.welcome)
		case packetFrames:
			p.frames = append(p.frames, arrived{})
			f := &p.frames[len(p.frames)-1]
			if err := f.decode(value); err != nil {
				if f.ask == 0 {
					return err // nobody to tell but the whole lane
				}
				f.malformed = err
			}
		case packetHandled:
			p.handled = v
		}
		return nil
	})
}

func (f *arrived) decode(b []byte) error {
	return eachField(b, func(tag byte, value []byte, v uint64) error {
		switch tag {
		case frameAsk:
			f.ask = v
		case frameRemaining:
			f.remaining = v
		case frameService:
			f.service = value
		case framePayload:
			f.payload = value
		case frameCode:
			f.code = value
		case frameText:
			f.text = value
		}
		return nil
	})
}

var errTruncated = errors.New("remote: malformed packet")

// eachField calls f with each field that has a tag of one byte: value for
// bytes, v for varints. Other fields are unknown here and skipped, as is a
// known number with another wire type.
func eachField(b []byte, f func(tag byte, value []byte, v uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errTruncated, protowire.ParseError(n))
		}
		b = b[n:]
		var value []byte
		var v uint64
		switch typ {
		case protowire.BytesType:
			if value, n = protowire.ConsumeBytes(b); n >= 0 {
				value = slices.Clip(value)
			}
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", errTruncated, num, protowire.ParseError(n))
		}
		b = b[n:]
		if num > 15 {
			continue
		}
		if err := f(byte(num)<<3|byte(typ), value, v); err != nil {
			return err
		}
	}
	return nil
}

// remainingMicros is the time left until the deadline as it travels: at least
// one microsecond for an ask.
func remainingMicros(deadline, now time.Time) uint64 {
	return uint64(max(1, deadline.Sub(now).Microseconds()))
}
