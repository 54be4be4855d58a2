package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

type readStmts struct {
	events, snapshot, command, claim *sql.Stmt
}

func (r *readStmts) prepare(ctx context.Context, db *sql.DB) error {
	var errs []error
	prep := func(query string) *sql.Stmt {
		st, err := db.PrepareContext(ctx, query)
		errs = append(errs, err)
		return st
	}
	r.events = prep(`SELECT seq, generation, epoch, activation, ts, event, version, payload
		FROM events WHERE type=? AND pid=? AND seq>? ORDER BY seq LIMIT ?`)
	r.snapshot = prep(`SELECT seq, payload FROM snapshot WHERE type=? AND pid=?`)
	r.command = prep(`SELECT hash, reply, seq, ts FROM command WHERE type=? AND pid=? AND id=?`)
	r.claim = prep(`SELECT generation, owner, voters, version FROM claim WHERE cluster=?`)
	return errors.Join(errs...)
}

func (r *readStmts) close() error {
	return errors.Join(r.events.Close(), r.snapshot.Close(), r.command.Close(), r.claim.Close())
}

// usable refuses calls after Close.
func (s *Store) usable() error {
	select {
	case <-s.writer.stopping:
		return journal.ErrClosed
	default:
		return nil
	}
}

// failed maps the failure of a query, which may be that the store was closed
// while it ran.
func (s *Store) failed(ctx context.Context, what string, err error) error {
	if closed := s.usable(); closed != nil {
		return closed
	}
	return readFailed(ctx, what, err)
}

// Read implements journal.Journal.
func (s *Store) Read(ctx context.Context, st journal.Stream, after uint64, limit int) (journal.Page, error) {
	if err := errors.Join(s.usable(), st.Check()); err != nil {
		return journal.Page{}, err
	}
	if limit <= 0 || limit > journal.MaxPage {
		limit = journal.MaxPage
	}
	rows, err := s.read.events.QueryContext(ctx, st.Type, st.ID, int64(after), limit+1)
	if err != nil {
		return journal.Page{}, s.failed(ctx, "read events", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var page journal.Page
	size := 0
	for rows.Next() {
		if len(page.Events) == limit || size > journal.MaxPageBytes {
			page.More = true
			break
		}
		var r journal.Recorded
		var seq, gen, epoch, act, ts int64
		if err := rows.Scan(&seq, &gen, &epoch, &act, &ts, &r.Type, &r.Version, &r.Payload); err != nil {
			return journal.Page{}, s.failed(ctx, "read events", err)
		}
		r.Seq = uint64(seq)
		r.Token = journal.Token{Generation: uint64(gen), Epoch: uint64(epoch), Activation: uint64(act)}
		r.Time = time.Unix(0, ts)
		size += len(r.Payload)
		page.Events = append(page.Events, r)
	}
	if err := rows.Err(); err != nil {
		return journal.Page{}, s.failed(ctx, "read events", err)
	}
	return page, nil
}

// Snapshot implements journal.Journal.
func (s *Store) Snapshot(ctx context.Context, st journal.Stream) (journal.Snapshot, bool, error) {
	if err := errors.Join(s.usable(), st.Check()); err != nil {
		return journal.Snapshot{}, false, err
	}
	var snap journal.Snapshot
	var seq int64
	err := s.read.snapshot.QueryRowContext(ctx, st.Type, st.ID).Scan(&seq, &snap.Payload)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return journal.Snapshot{}, false, nil
	case err != nil:
		return journal.Snapshot{}, false, s.failed(ctx, "read snapshot", err)
	}
	snap.Seq = uint64(seq)
	return snap, true, nil
}

// Command implements journal.Journal.
func (s *Store) Command(ctx context.Context, st journal.Stream, id string) (journal.Command, bool, error) {
	if err := errors.Join(s.usable(), st.Check()); err != nil {
		return journal.Command{}, false, err
	}
	cmd, ok, err := scanCommand(s.read.command.QueryRowContext(ctx, st.Type, st.ID, id), id)
	if err != nil {
		return journal.Command{}, false, s.failed(ctx, "read command", err)
	}
	return cmd, ok, nil
}

func scanCommand(row *sql.Row, id string) (journal.Command, bool, error) {
	cmd := journal.Command{ID: id}
	var hash []byte
	var seq, ts int64
	err := row.Scan(&hash, &cmd.Reply, &seq, &ts)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return journal.Command{}, false, nil
	case err != nil:
		return journal.Command{}, false, err
	case len(hash) != len(cmd.Hash):
		return journal.Command{}, false, fmt.Errorf("command %q has a hash of %d bytes", id, len(hash))
	}
	copy(cmd.Hash[:], hash)
	cmd.Seq, cmd.Time = uint64(seq), time.Unix(0, ts)
	return cmd, true, nil
}

// ReadClaim implements journal.Arbiter.
func (s *Store) ReadClaim(ctx context.Context, cluster string) (journal.Claim, error) {
	if err := s.usable(); err != nil {
		return journal.Claim{}, err
	}
	row, err := scanClaim(s.read.claim.QueryRowContext(ctx, cluster))
	if err != nil {
		return journal.Claim{}, s.failed(ctx, "read claim", err)
	}
	return row, nil
}

func scanClaim(row *sql.Row) (journal.Claim, error) {
	var c journal.Claim
	var gen, version int64
	var voters []byte
	err := row.Scan(&gen, &c.Owner, &voters, &version)
	if errors.Is(err, sql.ErrNoRows) {
		return journal.Claim{}, nil
	}
	if err != nil {
		return journal.Claim{}, err
	}
	if err := json.Unmarshal(voters, &c.Voters); err != nil {
		return journal.Claim{}, fmt.Errorf("voters of the claim: %w", err)
	}
	c.Generation, c.Version = uint64(gen), uint64(version)
	return c, nil
}
