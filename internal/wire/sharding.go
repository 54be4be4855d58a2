package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// RequestKind says what a region wants from the owner of a shard.
type RequestKind uint8

// Kinds of request. The numbers travel on the wire: add only at the end.
const (
	RequestCall RequestKind = iota
	RequestBarrier
	RequestProbe
)

// ShardRequest is what a region sends to the owner of a shard. After decoding
// its byte slices point into the message.
type ShardRequest struct {
	Kind              RequestKind
	Type              []byte
	Shard             int
	Generation, Epoch uint64
	Entity, Method    []byte
	CommandID         []byte
	Payload           []byte
}

// ReplyStatus is the outcome of a request.
type ReplyStatus uint8

// Outcomes. The numbers travel on the wire: add only at the end.
const (
	ReplyOK ReplyStatus = iota
	ReplyError
	ReplyRefused
)

// ShardReply answers a ShardRequest. After decoding Payload points into the
// message.
type ShardReply struct {
	Status              ReplyStatus
	Payload             []byte
	Code, Text, Refusal string
	Generation, Index   uint64
}

// Bounds of what a decoder accepts, in bytes.
const (
	maxName     = 128
	maxEntityID = 512
	maxCommand  = 256
	maxText     = 4096
	maxShards   = 1 << 16
)

// CallHeader is the part of a call that is the same however often it is sent.
type CallHeader struct {
	Type              string
	Shard             int
	Generation, Epoch uint64
	Entity, Method    string
	CommandID         string
}

// AppendCall encodes a call.
func AppendCall(b []byte, h *CallHeader, payload []byte) []byte {
	b = appendTarget(b, RequestCall, h.Type, h.Shard, h.Generation, h.Epoch)
	b = appendString(b, 6, h.Entity)
	b = appendString(b, 7, h.Method)
	b = appendString(b, 8, h.CommandID)
	if len(payload) > 0 {
		b = protowire.AppendTag(b, 9, protowire.BytesType)
		b = protowire.AppendBytes(b, payload)
	}
	return b
}

// CallSize is at least the encoded size of a call.
func CallSize(h *CallHeader, payload []byte) int {
	return 64 + len(h.Type) + len(h.Entity) + len(h.Method) + len(h.CommandID) + len(payload)
}

// AppendShardRequest encodes a barrier or a probe.
func AppendShardRequest(b []byte, kind RequestKind, entityType string, shard int, generation, epoch uint64) []byte {
	return appendTarget(b, kind, entityType, shard, generation, epoch)
}

func appendTarget(b []byte, kind RequestKind, entityType string, shard int, generation, epoch uint64) []byte {
	b = appendUint(b, 1, uint64(kind))
	b = appendString(b, 2, entityType)
	b = appendUint(b, 3, uint64(shard))
	b = appendUint(b, 4, generation)
	return appendUint(b, 5, epoch)
}

// AppendShardReply encodes a reply. Texts are cut to the bound.
func AppendShardReply(b []byte, r *ShardReply) []byte {
	b = appendUint(b, 1, uint64(r.Status))
	if len(r.Payload) > 0 {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Payload)
	}
	b = appendString(b, 3, cutText(r.Code, maxName))
	b = appendString(b, 4, cutText(r.Text, maxText))
	b = appendString(b, 5, cutText(r.Refusal, maxName))
	b = appendUint(b, 6, r.Generation)
	return appendUint(b, 7, r.Index)
}

// cutText makes s fit into limit bytes of valid UTF-8.
func cutText(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	if utf8.ValidString(s) {
		return s
	}
	out := make([]rune, 0, len(s))
	n := 0
	for _, r := range s {
		if n += utf8.RuneLen(r); n > limit {
			break
		}
		out = append(out, r)
	}
	return string(out)
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// DecodeShardRequest decodes and checks a request.
func DecodeShardRequest(b []byte) (ShardRequest, error) {
	var r ShardRequest
	err := fields(b, func(num protowire.Number, v uint64, p []byte) error {
		switch num {
		case 1:
			if v > uint64(RequestProbe) {
				return fmt.Errorf("kind %d is unknown", v)
			}
			r.Kind = RequestKind(v)
		case 2:
			return bounded(&r.Type, p, "type", maxName)
		case 3:
			if v >= maxShards {
				return fmt.Errorf("shard %d is out of range: it must be below %d", v, maxShards)
			}
			r.Shard = int(v)
		case 4:
			r.Generation = v
		case 5:
			r.Epoch = v
		case 6:
			return bounded(&r.Entity, p, "entity", maxEntityID)
		case 7:
			return bounded(&r.Method, p, "method", maxName)
		case 8:
			return bounded(&r.CommandID, p, "command_id", maxCommand)
		case 9:
			r.Payload = p
		}
		return nil
	}, 9, requestKinds)
	switch {
	case err != nil:
	case len(r.Type) == 0:
		err = errors.New("type is empty")
	case r.Kind == RequestCall && len(r.Entity) == 0:
		err = errors.New("entity is empty")
	case r.Kind == RequestCall && len(r.Method) == 0:
		err = errors.New("method is empty")
	}
	if err != nil {
		return ShardRequest{}, fmt.Errorf("wire: sharding request: %w", err)
	}
	return r, nil
}

// DecodeShardReply decodes and checks a reply.
func DecodeShardReply(b []byte) (ShardReply, error) {
	var r ShardReply
	err := fields(b, func(num protowire.Number, v uint64, p []byte) error {
		switch num {
		case 1:
			if v > uint64(ReplyRefused) {
				return fmt.Errorf("status %d is unknown", v)
			}
			r.Status = ReplyStatus(v)
		case 2:
			r.Payload = p
		case 3:
			return boundedString(&r.Code, p, "code", maxName)
		case 4:
			return boundedString(&r.Text, p, "text", maxText)
		case 5:
			return boundedString(&r.Refusal, p, "refusal", maxName)
		case 6:
			r.Generation = v
		case 7:
			r.Index = v
		}
		return nil
	}, 7, replyKinds)
	if err != nil {
		return ShardReply{}, fmt.Errorf("wire: sharding reply: %w", err)
	}
	return r, nil
}

// Bit n is set when field n is length-delimited; the others are varints.
const (
	requestKinds = 1<<2 | 1<<6 | 1<<7 | 1<<8 | 1<<9
	replyKinds   = 1<<2 | 1<<3 | 1<<4 | 1<<5
)

// fields walks over the fields of a message up to number last; later numbers
// are unknown and skipped.
func fields(b []byte, f func(num protowire.Number, v uint64, p []byte) error, last protowire.Number, delimited uint) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if num > last {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		want := protowire.VarintType
		if delimited>>uint(num)&1 == 1 {
			want = protowire.BytesType
		}
		if typ != want {
			return fmt.Errorf("field %d has wire type %d, want %d", num, typ, want)
		}
		var v uint64
		var p []byte
		if want == protowire.BytesType {
			p, n = protowire.ConsumeBytes(b)
		} else {
			v, n = protowire.ConsumeVarint(b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(num, v, p); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func bounded(to *[]byte, p []byte, field string, limit int) error {
	if len(p) > limit {
		return fmt.Errorf("%s has %d bytes: at most %d are allowed", field, len(p), limit)
	}
	if !utf8.Valid(p) {
		return fmt.Errorf("%s is not valid UTF-8", field)
	}
	*to = p
	return nil
}

func boundedString(to *string, p []byte, field string, limit int) error {
	var b []byte
	if err := bounded(&b, p, field, limit); err != nil {
		return err
	}
	*to = string(b)
	return nil
}
