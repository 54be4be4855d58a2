package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/remote"
)

// Claim is the arbiter row: which generation of the cluster may exist.
type Claim struct {
	// Generation is 0 when the cluster has never formed.
	Generation uint64
	// Owner is the node that formed it, as id@host:port.
	Owner string
	// Voters of the generation as id@host:port; during a change both the old and
	// the new ones. Empty when the generation was shut down in order.
	Voters []string
	// Version of the row for compare-and-set.
	Version uint64
}

// Arbiter is one row in the durable store that decides which generation of the
// cluster may exist.
type Arbiter interface {
	// ReadClaim returns the row, zero when there is none.
	ReadClaim(ctx context.Context) (Claim, error)
	// SwapClaim replaces the row if its version is still old, and returns the
	// row as it is afterwards.
	SwapClaim(ctx context.Context, old uint64, next Claim) (row Claim, swapped bool, err error)
}

// Form starts a new generation with this node as its only member, and returns
// when the node is Up and holds a session. ErrClaimed: an earlier generation may
// be alive, or another node was faster; the caller goes on looking for it.
func (c *Cluster) Form(ctx context.Context) error {
	if c.raftNode() != nil {
		return c.awaitUp(ctx)
	}
	generation, hold, err := c.claim(ctx)
	if err != nil {
		return err
	}
	if hold {
		// Nodes of the earlier generation that we could not see may hold
		// sessions for this long.
		c.mu.Lock()
		c.holdOff = time.Now().Add(c.cfg.Timing.expireAfter())
		c.mu.Unlock()
	}
	c.log.InfoContext(ctx, "forming a new generation", slog.String("cluster", c.cfg.Cluster), slog.Uint64("generation", generation), slog.Bool("waits_for_old_sessions", hold))
	if err := c.start(generation, true); err != nil { //nolint:contextcheck // lives as long as Run
		return err
	}
	// The only voter need not wait for its own election timeout.
	if err := c.trans.campaign(ctx, c.self); err != nil {
		return fmt.Errorf("cluster: form: %w", err)
	}
	return c.awaitUp(ctx)
}

// claim takes the next generation on the arbiter row.
func (c *Cluster) claim(ctx context.Context) (generation uint64, hold bool, err error) {
	if c.cfg.Arbiter == nil {
		return uint64(time.Now().UnixMilli()), true, nil
	}
	row, err := c.cfg.Arbiter.ReadClaim(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("cluster: read the claim of cluster %q: %w", c.cfg.Cluster, err)
	}
	if c.ownClaim(row) {
		return row.Generation, true, nil
	}
	if err := c.provedOver(ctx, row); err != nil {
		return 0, false, err
	}
	next := Claim{Generation: row.Generation + 1, Owner: c.self.String(), Voters: []string{c.self.String()}}
	got, swapped, err := c.cfg.Arbiter.SwapClaim(ctx, row.Version, next)
	// The claim may have been made, or may be made yet: a node that turned away
	// now would answer as the voter of a generation that it does not form, and
	// keep everybody else from forming one. The same swap settles it.
	for range 10 {
		if err == nil || !pause(ctx, 200*time.Millisecond) {
			break
		}
		got, swapped, err = c.cfg.Arbiter.SwapClaim(ctx, row.Version, next)
	}
	if err != nil {
		return 0, false, fmt.Errorf("cluster: claim generation %d of cluster %q: %w", next.Generation, c.cfg.Cluster, err)
	}
	if !swapped && c.ownClaim(got) {
		return got.Generation, true, nil
	}
	if !swapped {
		return 0, false, fmt.Errorf("%w: %s claimed generation %d first", ErrClaimed, got.Owner, got.Generation)
	}
	return next.Generation, len(row.Voters) > 0, nil
}

// ownClaim reports whether row is a claim of this node that it has not heard
// the outcome of: nobody else can use it, and its voter answers.
func (c *Cluster) ownClaim(row Claim) bool {
	return row.Owner == c.self.String() && slices.Equal(row.Voters, []string{c.self.String()})
}

// cannotGoOn reports whether a generation whose row names registered voters, of
// which dead are dead, can have no quorum. The row names the voters of before
// and after a change of one voter, so the generation may need a majority of all
// of them or of all but one: after the removal of a dead one of two, the other
// goes on alone.
func cannotGoOn(registered, dead int) bool {
	return registered-dead < max(registered-1, 1)/2+1
}

// provedOver returns nil when the generation of row cannot have a quorum any
// more, as far as its voters' addresses tell, or when its voters have been
// silent for Patience.
func (c *Cluster) provedOver(ctx context.Context, row Claim) error {
	evidence := make([]remote.Evidence, len(row.Voters))
	var wg sync.WaitGroup
	for i, v := range row.Voters {
		n, err := parseServer(raft.ServerAddress(v))
		if err != nil {
			return fmt.Errorf("cluster: claim of generation %d: %w", row.Generation, err)
		}
		wg.Go(func() {
			pctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			evidence[i] = c.t.Probe(pctx, n)
		})
	}
	wg.Wait()
	dead := 0
	for i, e := range evidence {
		if e == remote.Alive {
			return fmt.Errorf("%w: voter %s of generation %d answers", ErrClaimed, row.Voters[i], row.Generation)
		}
		if e.Dead() {
			dead++
		}
	}
	if cannotGoOn(len(row.Voters), dead) {
		return nil
	}
	c.mu.Lock()
	if c.patience.IsZero() || c.patienceFor != row.Version {
		c.patience, c.patienceFor = time.Now().Add(c.cfg.Timing.Patience), row.Version
	}
	left := time.Until(c.patience)
	c.mu.Unlock()
	if left > 0 {
		return fmt.Errorf("%w: voters %s of generation %d neither answer nor refuse; waiting %v more",
			ErrClaimed, strings.Join(row.Voters, ", "), row.Generation, left.Round(time.Second))
	}
	c.log.WarnContext(ctx, "earlier generation is given up for dead", slog.Uint64("generation", row.Generation), slog.Any("voters", row.Voters))
	return nil
}

func (c *Cluster) holdUntil() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holdOff
}

// awaitUp waits until this node is Up and holds a session.
func (c *Cluster) awaitUp(ctx context.Context) error {
	ctx, stop := c.whileMember(ctx)
	defer stop()
	err := c.replica.until(ctx, func(t *table.Table) bool {
		m, ok := t.Member(c.self.ID)
		return ok && m.Status == member.Up
	})
	for err == nil && !c.session.valid() {
		if !pause(ctx, 5*time.Millisecond) {
			err = ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("cluster: wait until this node is up with a session: %w", c.whyOver(err))
	}
	return nil
}

// whileMember returns a ctx that ends with the membership, too, and a function
// to be called when it is not needed any more.
func (c *Cluster) whileMember(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := make(chan struct{})
	go func() {
		select {
		case <-c.over:
			cancel()
		case <-stop:
		}
	}()
	return ctx, func() { close(stop); cancel() }
}

// whyOver returns the reason why the membership has ended, err if it has not.
func (c *Cluster) whyOver(err error) error {
	select {
	case <-c.over:
		return c.overWhy
	default:
		return err
	}
}

// register writes the voters of before and after a change to the arbiter row.
// Nobody can judge later whether a generation is over without them.
func (l *leadership) register(ctx context.Context, servers []raft.Server, step voterStep) error {
	a := l.c.cfg.Arbiter
	if a == nil || step.kind != stepPromote && step.kind != stepRemove {
		return nil
	}
	var voters []string
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, string(s.Address))
		}
	}
	if step.kind == stepPromote {
		voters = append(voters, string(step.addr))
	}
	slices.Sort(voters)
	return l.writeVoters(ctx, voters)
}

func (l *leadership) writeVoters(ctx context.Context, voters []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	generation := l.c.generation.Load()
	row, err := l.c.cfg.Arbiter.ReadClaim(ctx)
	if err != nil {
		return err
	}
	if row.Generation != generation {
		if row.Generation > generation {
			l.c.end(ErrSuperseded)
		}
		return fmt.Errorf("%w: the row says %d, this node belongs to %d", ErrSuperseded, row.Generation, generation)
	}
	if slices.Equal(row.Voters, voters) {
		return nil
	}
	// The row as it was read is not newer than this leadership, or the barrier
	// would fail: a deposed leader must not write its voters over a later one's.
	if err := l.r.Barrier(raftTimeout).Error(); err != nil {
		return fmt.Errorf("cluster: register voters: %w", err)
	}
	next := row
	next.Voters = voters
	_, swapped, err := l.c.cfg.Arbiter.SwapClaim(ctx, row.Version, next)
	if err == nil && !swapped {
		err = errors.New("cluster: the claim changed meanwhile")
	}
	return err
}
