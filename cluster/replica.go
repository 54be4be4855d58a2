package cluster

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
)

// Observer follows the table. Calls come in table order, one at a time, from
// whichever goroutine applies a command; they must not block and must not call
// back into the cluster.
type Observer interface {
	// TableReset replaces everything known.
	TableReset(s table.Snapshot)
	// TableChanged tells what one command changed.
	TableChanged(d table.Delta)
}

// tailLen bounds the committed entries kept for members that lag behind; one
// that lags further gets the whole table.
const tailLen = 4096

// replica is this node's copy of the table. Committed commands reach it twice
// on a voter: through raft, and earlier through the leader's push, because a
// raft follower learns that an entry is committed only with the next
// AppendEntries, up to 100 ms later. Whichever comes first is applied; both are
// prefixes of the same log, so the higher index is always the newer table.
type replica struct {
	mu        sync.Mutex
	table     *table.Table
	tail      []wire.Entry
	tailPrev  uint64 // index of the command before tail[0]
	changed   chan struct{}
	observers []Observer

	view   atomic.Pointer[member.View]
	leader atomic.Pointer[leaderHint]
}

// leaderHint is who led last, as far as this node has heard.
type leaderHint struct {
	node member.Node
	term uint64
}

func newReplica() *replica {
	r := &replica{table: table.New(), changed: make(chan struct{})}
	r.view.Store(&member.View{})
	r.leader.Store(&leaderHint{})
	return r
}

// observe registers o and brings it up to date.
func (r *replica) observe(o Observer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observers = append(r.observers, o)
	o.TableReset(r.table.Snapshot())
}

// result is what the raft FSM answers to the proposer of a command.
type result struct {
	delta table.Delta
	err   error
}

// apply applies one committed command; one that was applied already is skipped.
func (r *replica) apply(index uint64, raw []byte) result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applyLocked(index, raw)
}

func (r *replica) applyLocked(index uint64, raw []byte) result {
	if index <= r.table.Index {
		return result{}
	}
	prev := r.table.Index
	cmd, err := wire.DecodeCommand(raw)
	if err != nil {
		// Every replica of this version skips it alike; the index moves on.
		r.table.Index = index
		r.remember(prev, index, raw)
		return result{err: err}
	}
	generation := r.table.Generation
	delta, err := r.table.Apply(index, cmd)
	r.remember(prev, index, raw)
	if len(delta.Members) > 0 || len(delta.Shards) > 0 {
		r.publish(len(delta.Members) > 0)
		for _, o := range r.observers {
			if r.table.Generation != generation { // a change does not name the generation
				o.TableReset(r.table.Snapshot())
				continue
			}
			o.TableChanged(delta)
		}
	}
	r.broadcast()
	return result{delta: delta, err: err}
}

func (r *replica) remember(prev, index uint64, raw []byte) {
	if len(r.tail) == 0 {
		r.tailPrev = prev
	}
	r.tail = append(r.tail, wire.Entry{Index: index, Command: raw})
	if over := len(r.tail) - tailLen; over >= tailLen/4 {
		r.tailPrev = r.tail[over-1].Index
		r.tail = slices.Clone(r.tail[over:])
	}
}

// restore replaces the table by a newer snapshot; an older one is ignored.
func (r *replica) restore(s table.Snapshot) error {
	t, err := table.FromSnapshot(s)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Index <= r.table.Index {
		return nil
	}
	r.table, r.tail, r.tailPrev = t, nil, s.Index
	r.publish(true)
	for _, o := range r.observers {
		o.TableReset(s)
	}
	r.broadcast()
	return nil
}

// push applies what a leader sent and returns the index reached.
func (r *replica) push(p wire.Push) (uint64, error) {
	if p.Table != nil {
		if err := r.restore(*p.Table); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p.Entries) > 0 && p.Prev > r.table.Index {
		return r.table.Index, nil // a gap: the leader goes back to what we have
	}
	for _, e := range p.Entries {
		r.applyLocked(e.Index, e.Command)
	}
	return r.table.Index, nil
}

// since returns the entries after index, or a snapshot when they are gone.
func (r *replica) since(index uint64, limit int) (prev uint64, entries []wire.Entry, snap *table.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if index >= r.table.Index {
		return index, nil, nil
	}
	if index < r.tailPrev || len(r.tail) == 0 {
		s := r.table.Snapshot()
		return 0, nil, &s
	}
	i, _ := slices.BinarySearchFunc(r.tail, index+1, func(e wire.Entry, target uint64) int {
		switch {
		case e.Index < target:
			return -1
		case e.Index > target:
			return 1
		}
		return 0
	})
	return index, slices.Clone(r.tail[i:min(len(r.tail), i+limit)]), nil
}

func (r *replica) publish(members bool) {
	old := r.view.Load()
	v := &member.View{Generation: r.table.Generation, Index: r.table.Index, Leader: r.leader.Load().node.ID, Members: old.Members}
	if members {
		v.Members = r.table.Members()
	}
	r.view.Store(v)
}

func (r *replica) broadcast() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// setLeader records who leads in a term; older terms are ignored.
func (r *replica) setLeader(n member.Node, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.leader.Load()
	if term < have.term || *have == (leaderHint{n, term}) || (term == have.term && n.ID == "") {
		return
	}
	r.leader.Store(&leaderHint{n, term})
	r.publish(false)
	r.broadcast()
}

// read calls f with the table under the lock. f must not keep the table.
func (r *replica) read(f func(t *table.Table)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.table)
}

// change returns a channel that is closed at the next change.
func (r *replica) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// until waits until cond holds for the table, or ctx ends.
func (r *replica) until(ctx context.Context, cond func(t *table.Table) bool) error {
	for {
		r.mu.Lock()
		ok, changed := cond(r.table), r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// index returns the index of the last applied command.
func (r *replica) index() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.Index
}

// fsm is the replica as raft sees it.
type fsm struct{ r *replica }

// Apply implements raft.FSM.
func (f fsm) Apply(l *raft.Log) any { return f.r.apply(l.Index, l.Data) }

// Snapshot implements raft.FSM. The table may be ahead of what raft applied;
// it carries its own index, so entries it includes are skipped on replay.
func (f fsm) Snapshot() (raft.FSMSnapshot, error) {
	var s table.Snapshot
	f.r.read(func(t *table.Table) { s = t.Snapshot() })
	b, err := wire.EncodeTable(s)
	return fsmSnapshot(b), err
}

// Restore implements raft.FSM.
func (f fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close() //nolint:errcheck // nothing was written
	b, err := io.ReadAll(rc)
	if err != nil {
		return fmt.Errorf("cluster: read table snapshot: %w", err)
	}
	s, err := wire.DecodeTable(b)
	if err != nil {
		return err
	}
	return f.r.restore(s)
}

type fsmSnapshot []byte

// Persist implements raft.FSMSnapshot.
func (s fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (fsmSnapshot) Release() {}
