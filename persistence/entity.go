package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// entity is one event-sourced entity in memory. It is kept small: everything
// that entities share is in bound.
type entity[S, E any] struct {
	b     *bound[S, E]
	a     *sharding.Activation
	claim *claim
	// seq is the entity's last event, snapSeq that of its latest snapshot.
	seq, snapSeq uint64
	seen         *recent
	state        S
}

// Start claims the shard, unless that was done for another entity of it, and
// replays the history.
func (e *entity[S, E]) Start(ctx context.Context, a *sharding.Activation) error {
	e.a = a
	cl, err := e.b.claims.acquire(ctx, a.Shard, a.Generation, a.Epoch, a.Node)
	if err != nil {
		return e.startFailed(err)
	}
	e.claim = cl
	token := cl.current()
	r, snapSeq, err := e.b.load(ctx, e.stream(), func(t journal.Token) error {
		if t.Compare(token) > 0 {
			return &journal.FencedError{Shard: e.stream().Shard, Held: token, Current: t}
		}
		return nil
	})
	if err != nil {
		return e.startFailed(err)
	}
	e.state, e.seq, e.snapSeq = r.State, r.Seq, snapSeq
	return nil
}

func (e *entity[S, E]) startFailed(err error) error {
	if fenced, ok := errors.AsType[*journal.FencedError](err); ok {
		e.a.StopShard(fenced)
	}
	return sharding.Errorf(sharding.Unavailable, "entity cannot be loaded: %w", err)
}

// Stop has nothing to save: what was acknowledged is in the journal.
func (e *entity[S, E]) Stop(context.Context) {}

func (e *entity[S, E]) stream() journal.Stream {
	return journal.Stream{Shard: journal.Shard{Type: e.b.name, Index: e.a.Shard}, ID: e.a.ID}
}

func (e *entity[S, E]) result() Result[S] {
	return Result[S]{ID: e.a.ID, State: e.state, Seq: e.seq}
}

// Handle runs a query, or a command: decide, apply, append, reply. Events are
// applied before they are stored so that one which Apply cannot take never
// gets into the history; whenever such an append does not succeed the entity
// is loaded afresh, since Apply may have changed what the state points to.
//
// Panics of user code are left to the region, which drops the entity.
func (e *entity[S, E]) Handle(ctx context.Context, c *sharding.Call) (any, error) {
	m, ok := c.Method.Invoke.(method[S, E])
	if !ok {
		return nil, sharding.Errorf(sharding.UnknownMethod, "method %q was made for another entity type", c.Method.Name)
	}
	if m.query != nil {
		reply, err := m.query(ctx, e.result(), c.Request)
		if err != nil {
			return nil, afresh(err)
		}
		if !e.a.Valid() {
			return nil, errNotOwner
		}
		return reply, nil
	}
	if c.CommandID == "" {
		return e.command(ctx, c, m, nil)
	}
	cmd, err := newCommand(c)
	if err != nil {
		return nil, err
	}
	if known := e.seen.find(cmd.ID); known != nil {
		if !e.a.Valid() {
			return nil, errNotOwner
		}
		return replay(c, cmd.Hash, known.hash, known.record)
	}
	return e.command(ctx, c, m, cmd)
}

// errNotOwner: the session or the shard is gone; nothing was written.
var errNotOwner = errors.Join(
	sharding.Errorf(sharding.Unavailable, "this node lost its session or the shard before it wrote"), sharding.ErrStop)

func newCommand(c *sharding.Call) (*journal.Command, error) {
	raw := c.Raw
	if raw == nil {
		var err error
		if raw, err = c.Method.EncodeRequest(c.Request); err != nil {
			return nil, sharding.Errorf(sharding.Malformed, "request of method %q: %w", c.Method.Name, err)
		}
	}
	return &journal.Command{ID: c.CommandID, Hash: commandHash(c.Method.Name, raw)}, nil
}

// command decides; cmd is nil for a command without an id.
func (e *entity[S, E]) command(ctx context.Context, c *sharding.Call, m method[S, E], cmd *journal.Command) (any, error) {
	events, err := m.decide(ctx, e.result(), c.Request)
	if err != nil {
		return e.refused(ctx, c, cmd, err)
	}
	next := e.result()
	for _, ev := range events {
		next.State = e.b.apply(next.State, ev)
	}
	next.Seq += uint64(len(events))
	reply := m.reply(next)
	if len(events) == 0 && cmd == nil {
		if !e.a.Valid() {
			return nil, errNotOwner
		}
		return reply, nil
	}
	encoded, err := e.b.events.encode(e.b.codec, events)
	if err != nil {
		return nil, errors.Join(sharding.Errorf(sharding.Failed, "nothing was written: %w", err), sharding.ErrStop)
	}
	if cmd != nil {
		payload, err := c.Method.EncodeReply(reply)
		if err != nil {
			return nil, errors.Join(sharding.Errorf(sharding.Failed, "nothing was written: reply of method %q: %w", c.Method.Name, err), sharding.ErrStop)
		}
		cmd.Reply = encodeReply(payload)
	}
	snap := e.snapshot(next)
	if err := e.append(ctx, encoded, cmd, snap); err != nil {
		return e.notAppended(c, cmd, len(events) > 0, err)
	}
	e.state, e.seq = next.State, next.Seq
	e.remember(cmd)
	if !e.a.Valid() {
		return nil, errors.Join(sharding.Errorf(sharding.Lost, "this node lost its session or the shard while it wrote"), sharding.ErrStop)
	}
	return reply, nil
}

// refused ends a command that decide did not accept. A refusal of a command
// with an id is recorded, so that a repeat gets it too, whatever the state has
// become by then.
func (e *entity[S, E]) refused(ctx context.Context, c *sharding.Call, cmd *journal.Command, cause error) (any, error) {
	refusal, ok := sharding.AsRefusal(cause)
	if !ok {
		if cmd != nil {
			// A repeat of a command that succeeded gets its reply all the same.
			rec, found, err := e.b.store.Command(ctx, e.stream(), cmd.ID)
			if err == nil && found && e.a.Valid() {
				reply, err := replay(c, cmd.Hash, rec.Hash, rec.Reply)
				return reply, errors.Join(err, sharding.ErrStop)
			}
		}
		return nil, afresh(cause)
	}
	if cmd == nil {
		if !e.a.Valid() {
			return nil, errNotOwner
		}
		return nil, cause
	}
	cmd.Reply = encodeRefusal(refusal)
	if err := e.append(ctx, nil, cmd, nil); err != nil {
		return e.notAppended(c, cmd, false, err)
	}
	e.remember(cmd)
	return nil, cause
}

// afresh makes the entity start again after an error that is no refusal: user
// code may have half changed what the state points to.
func afresh(err error) error {
	if _, refused := sharding.AsRefusal(err); refused {
		return err
	}
	return errors.Join(err, sharding.ErrStop)
}

func (e *entity[S, E]) remember(cmd *journal.Command) {
	if cmd != nil {
		e.seen = e.seen.add(recentEntry{id: cmd.ID, hash: cmd.Hash, record: cmd.Reply})
	}
}

// snapshot returns the snapshot to store with the events that lead to next,
// nil when it is not time for one.
func (e *entity[S, E]) snapshot(next Result[S]) *journal.Snapshot {
	if e.b.snapshotEvery < 0 || next.Seq-e.snapSeq < uint64(e.b.snapshotEvery) {
		return nil
	}
	e.snapSeq = next.Seq // also when it fails: not with every event again
	snap, err := encodeSnapshot(e.b.codec, e.b.snapshotVer, next.Seq, next.State)
	if err != nil {
		e.b.log.Warn("snapshot is not stored", slog.String("entity_type", e.b.name), slog.String("entity_id", e.a.ID), slog.Any("error", err))
		return nil
	}
	return snap
}

// append writes to the journal. The caller's deadline does not cut it off,
// which would leave its outcome open and the entity to be loaded again.
func (e *entity[S, E]) append(ctx context.Context, events []journal.Event, cmd *journal.Command, snap *journal.Snapshot) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.b.appendTimeout)
	defer cancel()
	token := e.claim.current()
	for {
		if !e.a.Valid() {
			return errNotOwner
		}
		err := e.appendOnce(ctx, token, events, cmd, snap)
		fenced, ok := errors.AsType[*journal.FencedError](err)
		if !ok {
			return err
		}
		// This node claimed again after another entity's write was in doubt: the
		// new token is as good for this one, whose writes have all ended.
		renewed := e.claim.current()
		if renewed == token || fenced.Current != renewed {
			return err
		}
		token = renewed
	}
}

func (e *entity[S, E]) appendOnce(ctx context.Context, token journal.Token, events []journal.Event, cmd *journal.Command, snap *journal.Snapshot) error {
	results := e.b.store.Append(ctx, []journal.Append{{
		Stream: e.stream(), Token: token, Expected: e.seq,
		Events: events, Command: cmd, Snapshot: snap, Time: time.Now(),
	}})
	if len(results) != 1 {
		return fmt.Errorf("%w: the store gave %d results for one append", journal.ErrUnknown, len(results))
	}
	return results[0].Err
}

// notAppended turns a failed append into what the caller gets. dirty says that
// events were applied for it.
func (e *entity[S, E]) notAppended(c *sharding.Call, cmd *journal.Command, dirty bool, err error) (any, error) {
	var stop error
	if dirty {
		stop = sharding.ErrStop
	}
	if dup, ok := errors.AsType[*journal.DuplicateError](err); ok {
		e.seen = e.seen.add(recentEntry{id: cmd.ID, hash: dup.Recorded.Hash, record: dup.Recorded.Reply})
		if !e.a.Valid() {
			return nil, errNotOwner
		}
		reply, err := replay(c, cmd.Hash, dup.Recorded.Hash, dup.Recorded.Reply)
		return reply, errors.Join(err, stop)
	}
	if coded, ok := errors.AsType[*sharding.Error](err); ok {
		return nil, errors.Join(coded, sharding.ErrStop)
	}
	if fenced, ok := errors.AsType[*journal.FencedError](err); ok {
		e.a.StopShard(fenced)
		return nil, errors.Join(sharding.Errorf(sharding.Unavailable, "another node has the shard: %w", err), sharding.ErrStop)
	}
	if _, ok := errors.AsType[*journal.ConflictError](err); ok {
		return nil, errors.Join(sharding.Errorf(sharding.Unavailable, "the entity was behind its journal and is loaded again: %w", err), sharding.ErrStop)
	}
	if large, ok := errors.AsType[*journal.TooLargeError](err); ok {
		return nil, errors.Join(sharding.Errorf(sharding.TooLarge, "nothing was written: %w", large), stop)
	}
	if errors.Is(err, journal.ErrUnavailable) || errors.Is(err, journal.ErrClosed) {
		return nil, errors.Join(sharding.Errorf(sharding.Unavailable, "nothing was written: %w", err), stop)
	}
	if _, ok := errors.AsType[*journal.InvalidError](err); ok {
		return nil, errors.Join(sharding.Errorf(sharding.Failed, "nothing was written: %w", err), stop)
	}
	// ErrUnknown, or an error no store should give: it may have been written.
	e.claim.doubt()
	return nil, errors.Join(sharding.Errorf(sharding.Lost, "whether it was written is not known: %w", err), sharding.ErrStop)
}

// replay gives a repeat of a command the outcome that was recorded for it.
func replay(c *sharding.Call, hash, recorded [16]byte, record []byte) (any, error) {
	if hash != recorded {
		return nil, sharding.Errorf(sharding.CommandReused, "command id %q was used with another request: draw a new one", c.CommandID)
	}
	payload, refusal, err := decodeRecord(record)
	if err != nil {
		return nil, sharding.Errorf(sharding.Failed, "command %q has run, but its %w", c.CommandID, err)
	}
	if refusal != nil {
		return nil, refusal
	}
	reply, err := c.Method.DecodeReply(payload)
	if err != nil {
		return nil, sharding.Errorf(sharding.Failed, "command %q has run, but its recorded reply cannot be decoded: %w", c.CommandID, err)
	}
	return reply, nil
}
