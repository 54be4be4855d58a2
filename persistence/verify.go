package persistence

import (
	"context"
	"fmt"
	"reflect"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// Verify loads an entity in the ways a node may come by its state, and reports
// where they differ: twice from its first event, from its snapshot, and with
// the state passed through the codec. A difference means that Apply depends on
// something else than state and event, that it changes what an older state
// points to, or that the state does not survive its codec.
func (t *Type[S, E]) Verify(ctx context.Context, store journal.Streams, id string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("persistence: %s/%s: %w", t.name, id, fmt.Errorf(format, args...))
	}
	full := *t
	full.SnapshotEvery = -1
	first, err := full.Load(ctx, store, id)
	if err != nil {
		return err
	}
	again, err := full.Load(ctx, store, id)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(first, again) {
		return fail("replay twice gives %+v and %+v: Apply must depend on state and event only", first.State, again.State)
	}
	if t.SnapshotEvery < 0 {
		return nil
	}
	snapshot, err := t.Load(ctx, store, id)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(first, snapshot) {
		return fail("replay gives %+v, the snapshot %+v: raise SnapshotVersion when Apply or the state changes", first.State, snapshot.State)
	}
	codec := typeCodec{&t.Settings}
	snap, err := encodeSnapshot(codec, t.SnapshotVersion, first.Seq, first.State)
	if err != nil {
		return fail("%w", err)
	}
	back, _, err := decodeSnapshot[S](codec, t.SnapshotVersion, *snap)
	if err != nil {
		return fail("%w", err)
	}
	if !reflect.DeepEqual(first.State, back) {
		return fail("the state %+v comes back from its codec as %+v", first.State, back)
	}
	return nil
}
