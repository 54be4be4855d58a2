package wire

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	shardingv1 "github.com/holdfast-go/holdfast/proto/sharding/v1"
)

func TestHandWrittenCallsReadLikeGeneratedOnes(t *testing.T) {
	h := CallHeader{Type: "account", Shard: 999, Generation: 3, Epoch: 1 << 40, Entity: "tenant-a/42", Method: "deposit", CommandID: "k"}
	payload := []byte(`{"Amount":100}`)
	var pb shardingv1.Request
	if err := proto.Unmarshal(AppendCall(nil, &h, payload), &pb); err != nil {
		t.Fatal(err)
	}
	want := &shardingv1.Request{
		Type: "account", Shard: 999, Generation: 3, Epoch: 1 << 40, Entity: "tenant-a/42",
		Method: "deposit", CommandId: "k", Payload: payload,
	}
	if !proto.Equal(&pb, want) {
		t.Errorf("got %v, want %v", &pb, want)
	}
	b, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeShardRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Type) != h.Type || got.Shard != h.Shard || got.Generation != h.Generation || got.Epoch != h.Epoch ||
		string(got.Entity) != h.Entity || string(got.Method) != h.Method || string(got.CommandID) != h.CommandID || !bytes.Equal(got.Payload, payload) {
		t.Errorf("got %+v, want %+v", got, h)
	}
}

func TestHandWrittenRepliesReadLikeGeneratedOnes(t *testing.T) {
	r := ShardReply{Status: ReplyRefused, Payload: []byte("p"), Code: "rejected", Text: "no: 3", Refusal: "no", Generation: 2, Index: 77}
	var pb shardingv1.Reply
	if err := proto.Unmarshal(AppendShardReply(nil, &r), &pb); err != nil {
		t.Fatal(err)
	}
	want := &shardingv1.Reply{Status: shardingv1.Reply_REFUSED, Payload: r.Payload, Code: r.Code, Text: r.Text, Refusal: r.Refusal, Generation: 2, Index: 77}
	if !proto.Equal(&pb, want) {
		t.Errorf("got %v, want %v", &pb, want)
	}
	b, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeShardReply(b)
	if err != nil || got.Text != r.Text || got.Refusal != r.Refusal || got.Index != r.Index || got.Status != r.Status {
		t.Errorf("got %+v, %v, want %+v", got, err, r)
	}
}

func TestLongOrBrokenTextsAreCutToValidUTF8(t *testing.T) {
	r := ShardReply{Status: ReplyError, Text: strings.Repeat("é", 3000) + "\xff", Code: "x\xfe"}
	got, err := DecodeShardReply(AppendShardReply(nil, &r))
	if err != nil || len(got.Text) > maxText || !strings.HasPrefix(got.Text, "éé") {
		t.Errorf("got %d bytes and %v, want a text cut to %d bytes", len(got.Text), err, maxText)
	}
}

func TestRequestsOutOfBoundsAreRefusedByField(t *testing.T) {
	ok := CallHeader{Type: "t", Entity: "e", Method: "m"}
	for field, change := range map[string]func(*CallHeader){
		"type is empty":   func(h *CallHeader) { h.Type = "" },
		"type has":        func(h *CallHeader) { h.Type = strings.Repeat("x", 129) },
		"entity is empty": func(h *CallHeader) { h.Entity = "" },
		"entity has":      func(h *CallHeader) { h.Entity = strings.Repeat("x", 513) },
		"entity is not":   func(h *CallHeader) { h.Entity = "\xff" },
		"method is empty": func(h *CallHeader) { h.Method = "" },
		"command_id has":  func(h *CallHeader) { h.CommandID = strings.Repeat("x", 257) },
		"shard":           func(h *CallHeader) { h.Shard = 1 << 16 },
	} {
		h := ok
		change(&h)
		_, err := DecodeShardRequest(AppendCall(nil, &h, nil))
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want an error that mentions %q", err, field)
		}
	}
	if _, err := DecodeShardRequest([]byte{1 << 3, 3, 2<<3 | 2, 1, 'x'}); err == nil {
		t.Error("got an unknown kind accepted, want an error")
	}
}

func TestValuesTravelAsProtobufOrJSON(t *testing.T) {
	b, err := MarshalValue(wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	var m *wrapperspb.StringValue
	if err := UnmarshalValue(b, &m); err != nil || m.GetValue() != "x" {
		t.Errorf("got %v, %v, want x as protobuf", m, err)
	}
	type plain struct{ A int }
	b, err = MarshalValue(plain{3})
	if err != nil || string(b) != `{"A":3}` {
		t.Fatalf("got %s, %v, want json", b, err)
	}
	var p *plain
	if err := UnmarshalValue(b, &p); err != nil || p.A != 3 {
		t.Errorf("got %v, %v, want a pointer to {3}", p, err)
	}
}

func FuzzDecodeShardRequest(f *testing.F) {
	f.Add(AppendCall(nil, &CallHeader{Type: "account", Shard: 7, Generation: 1, Epoch: 2, Entity: "a", Method: "m", CommandID: "k"}, []byte("x")))
	f.Add(AppendShardRequest(nil, RequestBarrier, "account", 1, 2, 3))
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeShardRequest(b)
		if err != nil {
			return
		}
		h := CallHeader{
			Type: string(r.Type), Shard: r.Shard, Generation: r.Generation, Epoch: r.Epoch,
			Entity: string(r.Entity), Method: string(r.Method), CommandID: string(r.CommandID),
		}
		if r.Kind != RequestCall {
			return
		}
		again, err := DecodeShardRequest(AppendCall(nil, &h, r.Payload))
		if err != nil || !bytes.Equal(again.Payload, r.Payload) || again.Epoch != r.Epoch || !bytes.Equal(again.Entity, r.Entity) {
			t.Errorf("got %+v, %v after a round trip, want %+v", again, err, r)
		}
	})
}

func FuzzDecodeShardReply(f *testing.F) {
	f.Add(AppendShardReply(nil, &ShardReply{Status: ReplyError, Code: "failed", Text: "boom"}))
	f.Add(AppendShardReply(nil, &ShardReply{Status: ReplyRefused, Generation: 1, Index: 9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeShardReply(b)
		if err != nil {
			return
		}
		again, err := DecodeShardReply(AppendShardReply(nil, &r))
		if err != nil || again.Text != r.Text || again.Index != r.Index || again.Status != r.Status {
			t.Errorf("got %+v, %v after a round trip, want %+v", again, err, r)
		}
	})
}
