package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// Retention is how long a Store keeps command records: 24 hours.
const Retention = 24 * time.Hour

// Store keeps streams in memory. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	closed  bool
	fences  map[journal.Shard]fence
	streams map[key]*stream
	claims  map[string]journal.Claim
}

var _ journal.Journal = (*Store)(nil)

type fence struct {
	token journal.Token
	owner string
}

// key leaves the shard out: an entity id is unique within its type, whatever
// shard the caller says it is in.
type key struct{ typ, id string }

type stream struct {
	events   []journal.Recorded
	snapshot *journal.Snapshot
	commands map[string]journal.Command
	// order holds the command ids, oldest first, to drop them by age.
	order []string
}

// New returns an empty store.
func New() *Store {
	return &Store{
		fences:  map[journal.Shard]fence{},
		streams: map[key]*stream{},
		claims:  map[string]journal.Claim{},
	}
}

// Append implements journal.Journal.
func (s *Store) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]journal.Result, len(batch))
	for i := range batch {
		if err := s.usable(ctx); err != nil {
			out[i].Err = err
			continue
		}
		out[i].Seq, out[i].Err = s.append(&batch[i])
	}
	return out
}

func (s *Store) append(a *journal.Append) (uint64, error) {
	if err := a.Check(); err != nil {
		return 0, err
	}
	if f := s.fences[a.Stream.Shard]; f.token != a.Token {
		return 0, &journal.FencedError{Shard: a.Stream.Shard, Held: a.Token, Current: f.token}
	}
	k := key{a.Stream.Type, a.Stream.ID}
	st := s.streams[k]
	if st == nil {
		st = &stream{}
	}
	now := a.Time
	if now.IsZero() {
		now = time.Now()
	}
	if a.Command != nil {
		st.expire(time.Now())
		if c, ok := st.commands[a.Command.ID]; ok {
			return 0, &journal.DuplicateError{Stream: a.Stream, Recorded: clone(c)}
		}
	}
	if last := uint64(len(st.events)); last != a.Expected {
		return 0, &journal.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: last}
	}
	for i, e := range a.Events {
		e.Payload = bytes.Clone(e.Payload)
		st.events = append(st.events, journal.Recorded{Event: e, Seq: a.Expected + uint64(i) + 1, Token: a.Token, Time: now})
	}
	seq := uint64(len(st.events))
	if a.Command != nil {
		c := clone(*a.Command)
		c.Seq, c.Time = seq, now
		if st.commands == nil {
			st.commands = map[string]journal.Command{}
		}
		st.commands[c.ID] = c
		st.order = append(st.order, c.ID)
	}
	if a.Snapshot != nil {
		st.snapshot = &journal.Snapshot{Seq: a.Snapshot.Seq, Payload: bytes.Clone(a.Snapshot.Payload)}
	}
	s.streams[k] = st
	return seq, nil
}

func (st *stream) expire(now time.Time) {
	n := 0
	for n < len(st.order) && now.Sub(st.commands[st.order[n]].Time) > Retention {
		delete(st.commands, st.order[n])
		n++
	}
	st.order = slices.Delete(st.order, 0, n)
}

func clone(c journal.Command) journal.Command {
	c.Reply = bytes.Clone(c.Reply)
	return c
}

// Read implements journal.Journal.
func (s *Store) Read(ctx context.Context, st journal.Stream, after uint64, limit int) (journal.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return journal.Page{}, err
	}
	if err := st.Check(); err != nil {
		return journal.Page{}, err
	}
	if limit <= 0 || limit > journal.MaxPage {
		limit = journal.MaxPage
	}
	var page journal.Page
	found := s.streams[key{st.Type, st.ID}]
	if found == nil || after >= uint64(len(found.events)) {
		return page, nil
	}
	size := 0
	for _, r := range found.events[after:] {
		if len(page.Events) == limit || size > journal.MaxPageBytes {
			page.More = true
			break
		}
		r.Payload = bytes.Clone(r.Payload)
		size += len(r.Payload)
		page.Events = append(page.Events, r)
	}
	return page, nil
}

// Snapshot implements journal.Journal.
func (s *Store) Snapshot(ctx context.Context, st journal.Stream) (journal.Snapshot, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return journal.Snapshot{}, false, err
	}
	if err := st.Check(); err != nil {
		return journal.Snapshot{}, false, err
	}
	found := s.streams[key{st.Type, st.ID}]
	if found == nil || found.snapshot == nil {
		return journal.Snapshot{}, false, nil
	}
	return journal.Snapshot{Seq: found.snapshot.Seq, Payload: bytes.Clone(found.snapshot.Payload)}, true, nil
}

// Command implements journal.Journal.
func (s *Store) Command(ctx context.Context, st journal.Stream, id string) (journal.Command, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return journal.Command{}, false, err
	}
	if err := st.Check(); err != nil {
		return journal.Command{}, false, err
	}
	found := s.streams[key{st.Type, st.ID}]
	if found == nil {
		return journal.Command{}, false, nil
	}
	c, ok := found.commands[id]
	return clone(c), ok, nil
}

// Claim implements journal.Journal.
func (s *Store) Claim(ctx context.Context, sh journal.Shard, generation, epoch uint64, owner string) (journal.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return journal.Token{}, err
	}
	if err := sh.Check(); err != nil {
		return journal.Token{}, err
	}
	f := s.fences[sh]
	if !f.token.Admits(generation, epoch) {
		return journal.Token{}, &journal.FencedError{
			Shard: sh, Held: journal.Token{Generation: generation, Epoch: epoch}, Current: f.token,
		}
	}
	f.token = journal.Token{Generation: generation, Epoch: epoch, Activation: f.token.Activation + 1}
	f.owner = owner
	s.fences[sh] = f
	return f.token, nil
}

// ReadClaim implements journal.Arbiter.
func (s *Store) ReadClaim(ctx context.Context, cluster string) (journal.Claim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return journal.Claim{}, err
	}
	return cloneClaim(s.claims[cluster]), nil
}

// SwapClaim implements journal.Arbiter.
func (s *Store) SwapClaim(ctx context.Context, cluster string, old uint64, next journal.Claim) (journal.Claim, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return journal.Claim{}, false, err
	}
	row := s.claims[cluster]
	if row.Version != old {
		return cloneClaim(row), false, nil
	}
	next = cloneClaim(next)
	next.Version = old + 1
	s.claims[cluster] = next
	return cloneClaim(next), true, nil
}

func cloneClaim(c journal.Claim) journal.Claim {
	c.Voters = slices.Clone(c.Voters)
	return c
}

// Close implements journal.Journal. What the store holds stays readable to
// nobody: a shared store is closed by the one who made it, after its last user.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return journal.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	return nil
}
