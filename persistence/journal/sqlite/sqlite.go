package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// Store is a journal in one SQLite file. It is safe for concurrent use.
type Store struct {
	cfg     Config
	readers *sql.DB
	read    readStmts
	writer  *writer

	closeOnce sync.Once
	closeErr  error
}

var _ journal.Journal = (*Store)(nil)

// Open opens or creates the file and starts the writer. ctx bounds the opening
// only; Close ends the store. Errors: [ErrForeign], [ErrDamaged],
// [ErrNewerSchema], journal.ErrUnavailable when the file is locked or the disk
// is full (try again), or one that says what is wrong with the path.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("journal/sqlite: Path %s: %w", cfg.Path, err)
	}
	cfg.Path = path
	if err := ctx.Err(); err != nil {
		return nil, unavailable("open "+path, err)
	}
	if err := inspect(path); err != nil {
		return nil, err
	}
	g := newGate(path+".gate", cfg.BusyTimeout)
	if err := g.enter(); err != nil {
		if errors.Is(err, errGateTimeout) {
			return nil, unavailable("open "+path, err)
		}
		return nil, fmt.Errorf("journal/sqlite: %w: the directory of Path must be writable", err)
	}
	err = errors.Join(prepareFile(ctx, cfg), g.leave())
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	s := &Store{cfg: cfg}
	if s.readers, err = sql.Open("sqlite", dsn(path, busyPragma(cfg), "query_only(1)", "cache_size(-8192)")); err != nil {
		return nil, errors.Join(fileError(path, err), g.close())
	}
	s.readers.SetMaxOpenConns(cfg.Readers)
	s.readers.SetMaxIdleConns(cfg.Readers)
	if err := s.read.prepare(ctx, s.readers); err != nil {
		return nil, errors.Join(fileError(path, err), s.readers.Close(), g.close())
	}
	if s.writer, err = newWriter(ctx, cfg, g); err != nil {
		return nil, errors.Join(fileError(path, err), s.readers.Close(), g.close())
	}
	go s.writer.run(context.WithoutCancel(ctx))
	return s, nil
}

// Append implements journal.Journal.
func (s *Store) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	out := make([]journal.Result, len(batch))
	for start := 0; start < len(batch); {
		end, size := start, 0
		for end < len(batch) && end-start < maxGroup && size < maxGroupBytes {
			size += batch[end].Size()
			end++
		}
		w := &appendWork{batch: batch[start:end], now: time.Now()}
		if err := s.writer.submit(ctx, w, end-start, size); err != nil {
			for i := start; i < end; i++ {
				out[i].Err = err
			}
		} else {
			copy(out[start:end], w.results)
		}
		start = end
	}
	return out
}

// Claim implements journal.Journal.
func (s *Store) Claim(ctx context.Context, sh journal.Shard, generation, epoch uint64, owner string) (journal.Token, error) {
	if err := sh.Check(); err != nil {
		return journal.Token{}, err
	}
	w := &claimWork{shard: sh, generation: generation, epoch: epoch, owner: owner}
	if err := s.writer.submit(ctx, w, 1, 0); err != nil {
		return journal.Token{}, err
	}
	return w.token, w.err
}

// SwapClaim implements journal.Arbiter.
func (s *Store) SwapClaim(ctx context.Context, cluster string, old uint64, next journal.Claim) (journal.Claim, bool, error) {
	w := &swapWork{cluster: cluster, old: old, next: next}
	if err := s.writer.submit(ctx, w, 1, 0); err != nil {
		return journal.Claim{}, false, err
	}
	return w.row, w.swapped, w.err
}

// Close implements journal.Journal. It returns when the writer has ended and
// the file is closed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		err := s.writer.close()
		s.closeErr = errors.Join(err, s.read.close(), s.readers.Close())
	})
	return s.closeErr
}
