package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

const (
	// insertRows is how many events one statement inserts.
	insertRows = 32
	eventCols  = 11
)

// writeStmts are prepared on the writer's connection.
type writeStmts struct {
	begin, commit, rollback       *sql.Stmt
	fence, last, command, claim   *sql.Stmt
	insertOne, insertMany         *sql.Stmt
	setFence, setSnapshot         *sql.Stmt
	insertCommand, setClaim, drop *sql.Stmt
	all                           []*sql.Stmt
}

func (s *writeStmts) prepare(ctx context.Context, conn *sql.Conn) error {
	// OR FAIL spares SQLite the pages it keeps to undo half a statement: any
	// failure ends the whole transaction here.
	const insert = "INSERT OR FAIL INTO events (type,shard,pid,seq,generation,epoch,activation,ts,event,version,payload) VALUES "
	const row = "(?,?,?,?,?,?,?,?,?,?,?)"
	for _, p := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.fence, "SELECT generation, epoch, activation FROM fence WHERE type=? AND shard=?"},
		{&s.last, "SELECT seq FROM events WHERE type=? AND pid=? ORDER BY seq DESC LIMIT 1"},
		{&s.command, "SELECT hash, reply, seq, ts FROM command WHERE type=? AND pid=? AND id=?"},
		{&s.claim, "SELECT generation, owner, voters, version FROM claim WHERE cluster=?"},
		{&s.insertOne, insert + row},
		{&s.insertMany, insert + strings.Repeat(row+",", insertRows-1) + row},
		{&s.setFence, `INSERT INTO fence (type,shard,generation,epoch,activation,owner) VALUES (?,?,?,?,?,?)
			ON CONFLICT (type,shard) DO UPDATE SET generation=excluded.generation, epoch=excluded.epoch, activation=excluded.activation, owner=excluded.owner`},
		{&s.setSnapshot, `INSERT INTO snapshot (type,pid,seq,payload) VALUES (?,?,?,?)
			ON CONFLICT (type,pid) DO UPDATE SET seq=excluded.seq, payload=excluded.payload`},
		{&s.insertCommand, "INSERT INTO command (type,pid,id,hash,reply,seq,ts) VALUES (?,?,?,?,?,?,?)"},
		{&s.setClaim, `INSERT INTO claim (cluster,generation,owner,voters,version) VALUES (?,?,?,?,?)
			ON CONFLICT (cluster) DO UPDATE SET generation=excluded.generation, owner=excluded.owner, voters=excluded.voters, version=excluded.version`},
		{&s.drop, "DELETE FROM command WHERE ord IN (SELECT ord FROM command ORDER BY ord LIMIT ?) AND ts < ?"},
	} {
		st, err := conn.PrepareContext(ctx, p.query)
		if err != nil {
			return fmt.Errorf("prepare %q: %w", p.query, err)
		}
		*p.to = st
		s.all = append(s.all, st)
	}
	return nil
}

func (s *writeStmts) close() {
	for _, st := range s.all {
		_ = st.Close() // its connection goes with it
	}
	*s = writeStmts{}
}

// streamKey leaves the shard out, as the unique index does.
type streamKey struct{ typ, pid string }

// txn is what one transaction has read and is about to write. Every decision
// is made before the first insert of its work, so that a refused append leaves
// nothing behind and the others of its group are not touched.
type txn struct {
	s      *writeStmts
	dirty  bool
	fences map[journal.Shard]journal.Token
	lasts  map[streamKey]uint64
	args   []any // rows of events to insert
}

func newTxn(s *writeStmts) *txn {
	return &txn{s: s, fences: map[journal.Shard]journal.Token{}, lasts: map[streamKey]uint64{}}
}

// fence returns the current token of a shard, zero when it was never claimed.
func (t *txn) fence(ctx context.Context, sh journal.Shard) (journal.Token, error) {
	if tok, ok := t.fences[sh]; ok {
		return tok, nil
	}
	var g, e, a int64
	err := t.s.fence.QueryRowContext(ctx, sh.Type, sh.Index).Scan(&g, &e, &a)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return journal.Token{}, err
	}
	tok := journal.Token{Generation: uint64(g), Epoch: uint64(e), Activation: uint64(a)}
	t.fences[sh] = tok
	return tok, nil
}

func (t *txn) last(ctx context.Context, k streamKey) (uint64, error) {
	if n, ok := t.lasts[k]; ok {
		return n, nil
	}
	var n int64
	err := t.s.last.QueryRowContext(ctx, k.typ, k.pid).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	return uint64(n), nil
}

// flush inserts the collected events.
func (t *txn) flush(ctx context.Context) error {
	for len(t.args) > 0 {
		stmt, n := t.s.insertMany, insertRows*eventCols
		if len(t.args) < n {
			stmt, n = t.s.insertOne, eventCols
		}
		if _, err := stmt.ExecContext(ctx, t.args[:n]...); err != nil {
			return err
		}
		t.args = t.args[n:]
	}
	t.args = nil
	return nil
}

type appendWork struct {
	batch   []journal.Append
	now     time.Time
	results []journal.Result
}

func (w *appendWork) apply(ctx context.Context, t *txn) error {
	w.results = make([]journal.Result, len(w.batch))
	for i := range w.batch {
		seq, refusal, err := t.append(ctx, &w.batch[i], w.now)
		if err != nil {
			return err
		}
		w.results[i] = journal.Result{Seq: seq, Err: refusal}
	}
	return nil
}

func (w *appendWork) fail(err error) {
	w.results = make([]journal.Result, len(w.batch))
	for i := range w.results {
		w.results[i].Err = err
	}
}

// append returns a refusal of this append, or an error of the transaction.
func (t *txn) append(ctx context.Context, a *journal.Append, now time.Time) (seq uint64, refusal, err error) {
	if err := a.Check(); err != nil {
		return 0, err, nil
	}
	current, err := t.fence(ctx, a.Stream.Shard)
	if err != nil {
		return 0, nil, err
	}
	if current != a.Token {
		return 0, &journal.FencedError{Shard: a.Stream.Shard, Held: a.Token, Current: current}, nil
	}
	k := streamKey{a.Stream.Type, a.Stream.ID}
	if a.Command != nil {
		row := t.s.command.QueryRowContext(ctx, k.typ, k.pid, a.Command.ID)
		switch cmd, ok, err := scanCommand(row, a.Command.ID); {
		case err != nil:
			return 0, nil, err
		case ok:
			return 0, &journal.DuplicateError{Stream: a.Stream, Recorded: cmd}, nil
		}
	}
	last, err := t.last(ctx, k)
	if err != nil {
		return 0, nil, err
	}
	if last != a.Expected {
		return 0, &journal.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: last}, nil
	}
	return t.write(ctx, a, k, now)
}

func (t *txn) write(ctx context.Context, a *journal.Append, k streamKey, now time.Time) (seq uint64, refusal, err error) {
	if !a.Time.IsZero() {
		now = a.Time
	}
	ts := now.UnixNano()
	seq = a.Expected
	for i := range a.Events {
		e := &a.Events[i]
		seq++
		t.args = append(t.args, k.typ, a.Stream.Index, k.pid, int64(seq),
			int64(a.Token.Generation), int64(a.Token.Epoch), int64(a.Token.Activation),
			ts, e.Type, int64(e.Version), blob(e.Payload))
	}
	t.lasts[k] = seq
	if c := a.Command; c != nil {
		if _, err := t.s.insertCommand.ExecContext(ctx, k.typ, k.pid, c.ID, c.Hash[:], blob(c.Reply), int64(seq), ts); err != nil {
			return 0, nil, err
		}
	}
	if s := a.Snapshot; s != nil {
		if _, err := t.s.setSnapshot.ExecContext(ctx, k.typ, k.pid, int64(s.Seq), blob(s.Payload)); err != nil {
			return 0, nil, err
		}
	}
	t.dirty = true
	return seq, nil, nil
}

// blob keeps an empty payload apart from NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

type claimWork struct {
	shard             journal.Shard
	generation, epoch uint64
	owner             string
	token             journal.Token
	err               error
}

func (w *claimWork) apply(ctx context.Context, t *txn) error {
	current, err := t.fence(ctx, w.shard)
	if err != nil {
		return err
	}
	if !current.Admits(w.generation, w.epoch) {
		w.err = &journal.FencedError{
			Shard: w.shard, Held: journal.Token{Generation: w.generation, Epoch: w.epoch}, Current: current,
		}
		return nil
	}
	w.token = journal.Token{Generation: w.generation, Epoch: w.epoch, Activation: current.Activation + 1}
	_, err = t.s.setFence.ExecContext(ctx, w.shard.Type, w.shard.Index,
		int64(w.token.Generation), int64(w.token.Epoch), int64(w.token.Activation), w.owner)
	if err != nil {
		return err
	}
	t.fences[w.shard] = w.token
	t.dirty = true
	return nil
}

func (w *claimWork) fail(err error) { w.token, w.err = journal.Token{}, err }

type swapWork struct {
	cluster string
	old     uint64
	next    journal.Claim
	row     journal.Claim
	swapped bool
	err     error
}

func (w *swapWork) apply(ctx context.Context, t *txn) error {
	row, err := scanClaim(t.s.claim.QueryRowContext(ctx, w.cluster))
	if err != nil {
		return err
	}
	if row.Version != w.old {
		w.row = row
		return nil
	}
	next := w.next
	next.Version = w.old + 1
	voters, err := json.Marshal(next.Voters)
	if err != nil {
		return err
	}
	_, err = t.s.setClaim.ExecContext(ctx, w.cluster, int64(next.Generation), next.Owner, string(voters), int64(next.Version))
	if err != nil {
		return err
	}
	w.row, w.swapped, t.dirty = next, true, true
	return nil
}

func (w *swapWork) fail(err error) { w.row, w.swapped, w.err = journal.Claim{}, false, err }

type pruneWork struct {
	before  time.Time
	deleted int64
	err     error
}

func (w *pruneWork) apply(ctx context.Context, t *txn) error {
	res, err := t.s.drop.ExecContext(ctx, pruneBatch, w.before.UnixNano())
	if err != nil {
		return err
	}
	w.deleted, err = res.RowsAffected()
	t.dirty = t.dirty || w.deleted > 0
	return err
}

func (w *pruneWork) fail(err error) { w.deleted, w.err = 0, err }
