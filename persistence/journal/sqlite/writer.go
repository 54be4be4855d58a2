package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

const (
	// maxGroup bounds the appends in one transaction, and with it the latency
	// of the last one in the group.
	maxGroup = 1024
	// maxGroupBytes ends a group early; one more append may pass it.
	maxGroupBytes = 8 << 20
	// queueLen bounds the calls that wait for the writer; more block at the
	// caller until its ctx ends.
	queueLen = 1024
	// pruneEvery and pruneBatch bound the work of dropping old command records;
	// pruneSoon applies while a full batch was found.
	pruneEvery = time.Minute
	pruneSoon  = 50 * time.Millisecond
	pruneBatch = 512
)

// work is one call that writes. apply returns an error only when the
// transaction as a whole cannot go on; a refusal of the work itself is its
// result.
type work interface {
	apply(ctx context.Context, t *txn) error
	// fail replaces the results when the transaction failed.
	fail(err error)
}

// The states of a job.
const (
	waiting int32 = iota
	taken
	abandoned
)

// job is work in the queue. Writer and caller race for its state: the writer
// takes it, or the caller whose ctx ended abandons it.
type job struct {
	work
	count, size int
	state       atomic.Int32
	done        chan struct{}
}

// writer is the one goroutine that writes through this store:
//
//	submit --> queue --> take a group --> gate, BEGIN IMMEDIATE, apply, COMMIT --> done
type writer struct {
	cfg  Config
	gate *gate
	db   *sql.DB
	// conn and stmts belong to the writer goroutine; conn is nil after a failure
	// that leaves the connection in doubt.
	conn  *sql.Conn
	stmts writeStmts

	queue    chan *job
	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}
	err      error // of the shutdown, readable after done
}

// newWriter connects; the caller starts run.
func newWriter(ctx context.Context, cfg Config, g *gate) (*writer, error) {
	db, err := sql.Open("sqlite", dsn(cfg.Path, busyPragma(cfg), "synchronous(FULL)", "wal_autocheckpoint(4000)", "cache_size(-65536)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	w := &writer{
		cfg: cfg, gate: g, db: db,
		queue: make(chan *job, queueLen), stopping: make(chan struct{}), done: make(chan struct{}),
	}
	if err := w.connect(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return w, nil
}

// submit hands work to the writer and waits for the end of its transaction.
// nil means that the results are in work; any other error stands for all of
// them, and work must not be read.
func (w *writer) submit(ctx context.Context, what work, count, size int) error {
	if err := ctx.Err(); err != nil {
		return unavailable("write", err)
	}
	j := &job{work: what, count: count, size: size, done: make(chan struct{})}
	select {
	case <-w.stopping:
		return journal.ErrClosed
	default:
	}
	select {
	case w.queue <- j:
	case <-w.stopping:
		return journal.ErrClosed
	case <-ctx.Done():
		return unavailable("write", ctx.Err())
	}
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, abandoned) {
			return unavailable("write", ctx.Err())
		}
		select {
		case <-j.done: // both were ready
			return nil
		default:
			return errors.Join(journal.ErrUnknown, ctx.Err())
		}
	case <-w.done:
		if j.state.CompareAndSwap(waiting, abandoned) {
			return journal.ErrClosed
		}
		<-j.done // a taken job is finished before the writer is
		return nil
	}
}

// run serves until close. ctx has no end: once begun, a transaction is finished,
// bounded by the busy timeout and the disk.
func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	prune := time.NewTimer(pruneSoon)
	defer prune.Stop()
	group := make([]*job, 0, maxGroup)
	for {
		select {
		case j := <-w.queue:
			group = w.take(group[:0], j)
			w.commit(ctx, group)
			clear(group)
		case <-prune.C:
			prune.Reset(w.prune(ctx))
		case <-w.stopping:
			for {
				select {
				case j := <-w.queue:
					group = w.take(group[:0], j)
					w.commit(ctx, group)
				default:
					w.err = w.shutdown()
					return
				}
			}
		}
	}
}

// take collects what waits. Giving the processor away once lets the callers of
// the last group put their next work in, which makes groups larger.
func (w *writer) take(group []*job, first *job) []*job {
	runtime.Gosched()
	count, size := 0, 0
	for j := first; ; {
		if j.state.CompareAndSwap(waiting, taken) {
			group = append(group, j)
			count += j.count
			size += j.size
		}
		if count >= maxGroup || size >= maxGroupBytes {
			return group
		}
		select {
		case j = <-w.queue:
		default:
			return group
		}
	}
}

// commit runs a group in one transaction and ends every job of it.
func (w *writer) commit(ctx context.Context, group []*job) {
	if len(group) == 0 {
		return
	}
	if err := w.transact(ctx, group); err != nil {
		for _, j := range group {
			j.fail(err)
		}
	}
	for _, j := range group {
		close(j.done)
	}
}

// transact returns an error that wraps ErrUnavailable when nothing was
// written, ErrUnknown when it cannot tell.
func (w *writer) transact(ctx context.Context, group []*job) error {
	if err := w.gate.enter(); err != nil {
		return unavailable("write", err)
	}
	defer func() {
		if e := w.gate.leave(); e != nil {
			w.cfg.Logger.ErrorContext(ctx, "journal gate cannot be left", slog.String("path", w.cfg.Path), slog.Any("error", e))
		}
	}()
	if err := w.connect(ctx); err != nil {
		return unavailable("connect", err)
	}
	if _, err := w.stmts.begin.ExecContext(ctx); err != nil {
		return unavailable("begin", err)
	}
	t := newTxn(&w.stmts)
	for _, j := range group {
		if err := j.apply(ctx, t); err != nil {
			w.rollback(ctx)
			return unavailable("write", err)
		}
	}
	if err := t.flush(ctx); err != nil {
		w.rollback(ctx)
		return unavailable("write", err)
	}
	if !t.dirty {
		w.rollback(ctx) // nothing to make durable
		return nil
	}
	if _, err := w.stmts.commit.ExecContext(ctx); err != nil {
		w.rollback(ctx)
		if notWritten(err) {
			return unavailable("commit", err)
		}
		w.disconnect()
		return errors.Join(journal.ErrUnknown, err)
	}
	return nil
}

// rollback ends the transaction. It fails when SQLite has done it already, as
// after a full disk; dropping the connection then makes sure.
func (w *writer) rollback(ctx context.Context) {
	if _, err := w.stmts.rollback.ExecContext(ctx); err != nil {
		w.disconnect()
	}
}

func (w *writer) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	w.conn = conn
	if err := w.stmts.prepare(ctx, conn); err != nil {
		w.disconnect()
		return err
	}
	return nil
}

// disconnect throws the connection away: SQLite rolls back what it had open.
func (w *writer) disconnect() {
	if w.conn == nil {
		return
	}
	w.stmts.close()
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // makes the pool close it
	_ = w.conn.Close()
	w.conn = nil
}

// prune drops one batch of old command records and returns when to come again.
func (w *writer) prune(ctx context.Context) time.Duration {
	p := &pruneWork{before: time.Now().Add(-w.cfg.Retention)}
	j := &job{work: p, done: make(chan struct{})}
	w.commit(ctx, []*job{j})
	if p.err != nil {
		w.cfg.Logger.WarnContext(ctx, "journal command records cannot be pruned", slog.String("path", w.cfg.Path), slog.Any("error", p.err))
	}
	if p.deleted == pruneBatch {
		return pruneSoon
	}
	return pruneEvery
}

// close lets the writer finish what is queued and waits for its end.
func (w *writer) close() error {
	w.stopOnce.Do(func() { close(w.stopping) })
	<-w.done
	return w.err
}

func (w *writer) shutdown() error {
	w.stmts.close()
	var err error
	if w.conn != nil {
		err = w.conn.Close()
	}
	return errors.Join(err, w.db.Close(), w.gate.close())
}
