package persistence

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// A snapshot is the format (1), the type's SnapshotVersion as uvarint, and the
// encoded state.
const snapshotFormat byte = 1

func encodeSnapshot[S any](c typeCodec, version int, seq uint64, state S) (*journal.Snapshot, error) {
	b, err := c.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	payload := binary.AppendUvarint([]byte{snapshotFormat}, uint64(version))
	payload = append(payload, b...)
	if len(payload) > journal.MaxSnapshot {
		return nil, fmt.Errorf("snapshot has %d bytes, at most %d are kept", len(payload), journal.MaxSnapshot)
	}
	return &journal.Snapshot{Seq: seq, Payload: payload}, nil
}

// decodeSnapshot returns the state; ok is false for a snapshot of another
// format or version, which replay from the first event makes up for.
func decodeSnapshot[S any](c typeCodec, version int, s journal.Snapshot) (state S, ok bool, err error) {
	if len(s.Payload) == 0 || s.Payload[0] != snapshotFormat {
		return state, false, nil
	}
	stored, n := binary.Uvarint(s.Payload[1:])
	if n <= 0 || stored != uint64(version) {
		return state, false, nil
	}
	if err := c.Unmarshal(s.Payload[1+n:], &state); err != nil {
		var zero S
		return zero, false, fmt.Errorf("snapshot at event %d: %w", s.Seq, err)
	}
	return state, true, nil
}
