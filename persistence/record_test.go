package persistence

import (
	"bytes"
	"testing"

	"github.com/holdfast-go/holdfast/sharding"
)

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeReply(nil))
	f.Add(encodeReply([]byte(`{"Balance":1}`)))
	f.Add(encodeRefusal(sharding.Refusal{Code: "short", Text: "short: 3 missing"}))
	f.Add([]byte{recordRefusal})
	f.Add([]byte{recordRefusal, 0})
	f.Add([]byte{recordRefusal, 200, 1, 'x'})
	f.Add([]byte{recordRefusal, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{9, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, refusal, err := decodeRecord(b)
		switch {
		case err != nil:
			if payload != nil || refusal != nil {
				t.Errorf("got a result beside error %v", err)
			}
		case refusal != nil:
			// The length may have been written in more bytes than needed.
			again := encodeRefusal(*refusal)
			if _, r, err := decodeRecord(again); err != nil || *r != *refusal || refusal.Code == "" {
				t.Errorf("got %v %v, want %v", r, err, refusal)
			}
		default:
			if !bytes.Equal(encodeReply(payload), b) {
				t.Errorf("got %x back, want %x", encodeReply(payload), b)
			}
		}
	})
}

func TestRecentIsBounded(t *testing.T) {
	var r *recent
	if r.find("x") != nil {
		t.Error("found in nothing")
	}
	r = r.add(recentEntry{id: "large", record: make([]byte, recentBytes+1)})
	if r != nil {
		t.Error("a large record is kept")
	}
	for i := range 3 * recentLen {
		r = r.add(recentEntry{id: string(rune('a' + i))})
	}
	if len(r.entries) != recentLen {
		t.Errorf("got %d entries, want %d", len(r.entries), recentLen)
	}
	for i := range 3 * recentLen {
		if found := r.find(string(rune('a'+i))) != nil; found != (i >= 2*recentLen) {
			t.Errorf("entry %d: found %v", i, found)
		}
	}
}
