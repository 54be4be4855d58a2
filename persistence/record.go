package persistence

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/sharding"
)

// A recorded outcome is what the journal keeps as the reply of a command with
// an id:
//
//	reply:   1, encoded reply
//	refusal: 2, length of the code as uvarint, code, text
const (
	recordReply   byte = 1
	recordRefusal byte = 2
)

var errRecord = errors.New("recorded outcome is malformed")

func encodeReply(payload []byte) []byte {
	return append([]byte{recordReply}, payload...)
}

func encodeRefusal(r sharding.Refusal) []byte {
	b := binary.AppendUvarint([]byte{recordRefusal}, uint64(len(r.Code)))
	b = append(b, r.Code...)
	return append(b, r.Text...)
}

// decodeRecord returns the payload of a reply, or the refusal.
func decodeRecord(b []byte) (payload []byte, refusal *sharding.Refusal, err error) {
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("%w: it is empty", errRecord)
	}
	switch kind, rest := b[0], b[1:]; kind {
	case recordReply:
		return rest, nil, nil
	case recordRefusal:
		n, used := binary.Uvarint(rest)
		if used <= 0 || n == 0 || n > uint64(len(rest)-used) {
			return nil, nil, fmt.Errorf("%w: the code's length is wrong", errRecord)
		}
		rest = rest[used:]
		return nil, &sharding.Refusal{Code: string(rest[:n]), Text: string(rest[n:])}, nil
	default:
		return nil, nil, fmt.Errorf("%w: it is of kind %d, which this program does not know", errRecord, kind)
	}
}

// commandHash tells commands under one id apart.
func commandHash(method string, raw []byte) (out [16]byte) {
	h := sha256.New()
	h.Write([]byte(method))
	h.Write([]byte{0})
	h.Write(raw)
	copy(out[:], h.Sum(nil))
	return out
}

// recent remembers the last outcomes of one entity, so that a quick repeat does
// not reach the journal. It is nil until a command with an id comes.
type recent struct {
	entries []recentEntry
	next    int
}

type recentEntry struct {
	id     string
	hash   [16]byte
	record []byte
}

// recentLen bounds the outcomes, and recentBytes the size of one, that an
// entity keeps in memory.
const (
	recentLen   = 8
	recentBytes = 1 << 10
)

func (r *recent) find(id string) *recentEntry {
	if r == nil {
		return nil
	}
	for i := range r.entries {
		if r.entries[i].id == id {
			return &r.entries[i]
		}
	}
	return nil
}

func (r *recent) add(e recentEntry) *recent {
	if len(e.record) > recentBytes {
		return r
	}
	if r == nil {
		r = &recent{}
	}
	if len(r.entries) < recentLen {
		r.entries = append(r.entries, e)
		return r
	}
	r.entries[r.next] = e
	r.next = (r.next + 1) % recentLen
	return r
}
