package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Timing holds the times of the membership protocol. A zero field means the
// default of [DefaultTiming].
type Timing struct {
	// Heartbeat is raft's heartbeat and election timeout. Defaults to 1 s.
	Heartbeat time.Duration
	// LeaderLease is how long a leader leads without hearing a majority.
	// Defaults to 0.9 x Heartbeat; must not be longer than Heartbeat.
	LeaderLease time.Duration
	// SessionTTL is how long a renewal lets a node execute entities, counted
	// from when the node sent it. Defaults to 3 s; at least 5 x Renew.
	SessionTTL time.Duration
	// Renew is the time between renewals. Defaults to 500 ms.
	Renew time.Duration
	// StableAfter is how long a member whose session is over may stay silent
	// before it is downed. Defaults to 5 s; longer than SessionTTL.
	StableAfter time.Duration
	// LostAfter is how long this node goes on without a session before it gives
	// up with ErrLostQuorum. Defaults to SessionTTL + StableAfter + 5 s.
	LostAfter time.Duration
	// HintBackoff separates the survivors that stand for election after the
	// leader's death was proved: rank x HintBackoff. Defaults to 200 ms.
	HintBackoff time.Duration
	// Patience is how long Form waits for nodes of an earlier generation that
	// neither answer nor are proved dead. Defaults to 20 s.
	Patience time.Duration
}

// DefaultTiming suits tasks from a quarter of a CPU upwards.
func DefaultTiming() Timing { return Timing{}.WithDefaults() }

// FastTiming halves the times, for tasks with at least one CPU.
func FastTiming() Timing {
	return Timing{
		Heartbeat: 500 * time.Millisecond, SessionTTL: 1500 * time.Millisecond, Renew: 200 * time.Millisecond,
		StableAfter: 3 * time.Second, HintBackoff: 100 * time.Millisecond,
	}.WithDefaults()
}

// WithDefaults returns t with its zero fields set.
func (t Timing) WithDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Heartbeat, time.Second)
	def(&t.LeaderLease, t.Heartbeat*9/10)
	def(&t.SessionTTL, 3*time.Second)
	def(&t.Renew, 500*time.Millisecond)
	def(&t.StableAfter, 5*time.Second)
	def(&t.LostAfter, t.SessionTTL+t.StableAfter+5*time.Second)
	def(&t.HintBackoff, 200*time.Millisecond)
	def(&t.Patience, 20*time.Second)
	return t
}

// Validate reports every problem of t at once.
func (t Timing) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("cluster: timing: "+format, args...))
		}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"Heartbeat", t.Heartbeat},
		{"LeaderLease", t.LeaderLease},
		{"SessionTTL", t.SessionTTL},
		{"Renew", t.Renew},
		{"StableAfter", t.StableAfter},
		{"LostAfter", t.LostAfter},
		{"HintBackoff", t.HintBackoff},
		{"Patience", t.Patience},
	} {
		check(f.d > 0, "%s is %v, it must be positive", f.name, f.d)
	}
	check(t.LeaderLease <= t.Heartbeat, "LeaderLease %v is longer than Heartbeat %v", t.LeaderLease, t.Heartbeat)
	check(t.SessionTTL >= 5*t.Renew, "SessionTTL %v is below 5 x Renew (%v): a few lost renewals would end sessions", t.SessionTTL, t.Renew)
	check(t.StableAfter > t.SessionTTL, "StableAfter %v is not above SessionTTL %v", t.StableAfter, t.SessionTTL)
	check(t.LostAfter > t.SessionTTL, "LostAfter %v is not above SessionTTL %v", t.LostAfter, t.SessionTTL)
	return errors.Join(errs...)
}

// expireAfter is how long the leader waits after the last sign of a member
// before it declares the member's session over. The member counts SessionTTL
// on its own clock; two clocks whose rates are within 2 % of true time differ
// by (1+0.02)/(1-0.02) < 1.04 at most (see the explanation of sessions).
func (t Timing) expireAfter() time.Duration { return t.SessionTTL * 104 / 100 }

// Config of a Cluster.
type Config struct {
	// Cluster is the cluster's name; nodes of other names are refused.
	Cluster string
	// Self is this node: identity, address, zone, roles and app version. Status
	// and JoinedAt are ignored.
	Self member.Member
	// Transport carries all messages. The caller runs it.
	Transport Transport
	// Arbiter is the store's claim row. Without one (nil) a new cluster takes
	// the time as its generation and nothing stops a second one from forming.
	Arbiter Arbiter
	// Settings that all members must share, by name, for example the strategy
	// of the split-brain resolver. A joining node with others is refused.
	Settings map[string]string
	// Types of entities and their numbers of shards. They are part of the join
	// check, too.
	Types map[string]int
	// Timing of the protocol. Zero fields mean the defaults.
	Timing Timing
	// Moves bounds how many shards move at a time when the cluster rebalances.
	// Defaults to 50.
	Moves int
	// Logger receives decisions and failures. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Timing = c.Timing.WithDefaults()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Moves == 0 {
		c.Moves = 50
	}
	return c
}

// Validate reports every problem of c at once.
func (c Config) Validate() error {
	var errs []error
	if c.Cluster == "" {
		errs = append(errs, errors.New("cluster: Cluster is empty: name the cluster"))
	}
	if c.Self.ID == "" || c.Self.Addr == "" {
		errs = append(errs, errors.New("cluster: Self needs an ID and an Addr"))
	}
	if c.Transport == nil {
		errs = append(errs, errors.New("cluster: Transport is missing"))
	}
	if c.Moves < 0 {
		errs = append(errs, fmt.Errorf("cluster: Moves is %d, it must not be negative", c.Moves))
	}
	errs = append(errs, c.Timing.Validate())
	return errors.Join(errs...)
}
