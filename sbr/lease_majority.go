package sbr

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Defaults of [LeaseMajority].
const (
	DefaultMinorityDelay  = 2 * time.Second
	DefaultReleaseAfter   = 40 * time.Second
	DefaultAcquireTimeout = 5 * time.Second
)

// LeaseMajority lets the side go on that acquires a lease kept outside of the
// cluster. The majority tries at once and the minority later, so a majority
// that is alive usually wins, and a minority whose majority crashed goes on. The
// lease itself is the shell's: this package only asks for it, see
// [AcquireLease].
type LeaseMajority struct {
	// Role restricts the counting that tells the minority to members that carry
	// it, "" counts all.
	Role string
	// MinorityDelay is how long the minority waits before it tries. Defaults to
	// 2 s.
	MinorityDelay time.Duration
	// ReleaseAfter is how long the winner keeps the lease after the last member
	// it downed was removed. Defaults to 40 s.
	ReleaseAfter time.Duration
	// AcquireTimeout is how long an attempt may take before it counts as denied.
	// Defaults to 5 s.
	AcquireTimeout time.Duration
	// Lease names the lease. Defaults to the cluster's name and "-sbr", see
	// LeaseName.
	Lease string
}

// LeaseName returns the name of the lease that a cluster contends for.
func (s LeaseMajority) LeaseName(cluster string) string {
	if name := strings.TrimSpace(s.Lease); name != "" {
		return name
	}
	return cluster + "-sbr"
}

// Name implements [Strategy].
func (LeaseMajority) Name() string { return "lease-majority" }

// Validate implements [Strategy].
func (s LeaseMajority) Validate() error {
	var errs []error
	for _, p := range []struct {
		name string
		d    time.Duration
	}{{"minority-delay", s.MinorityDelay}, {"release-after", s.ReleaseAfter}, {"acquire-timeout", s.AcquireTimeout}} {
		if p.d < 0 {
			errs = append(errs, fmt.Errorf("lease-majority: %s is %v: set a positive duration, or 0 for the default", p.name, p.d))
		}
	}
	return errors.Join(errs...)
}

func (s LeaseMajority) withDefaults() LeaseMajority {
	if s.MinorityDelay == 0 {
		s.MinorityDelay = DefaultMinorityDelay
	}
	if s.ReleaseAfter == 0 {
		s.ReleaseAfter = DefaultReleaseAfter
	}
	if s.AcquireTimeout == 0 {
		s.AcquireTimeout = DefaultAcquireTimeout
	}
	s.Lease = strings.TrimSpace(s.Lease)
	return s
}

// Parameters implements [Strategy].
func (s LeaseMajority) Parameters() map[string]string {
	s = s.withDefaults()
	return map[string]string{
		"role": s.Role, "lease": s.Lease, "minority-delay": s.MinorityDelay.String(),
		"release-after": s.ReleaseAfter.String(), "acquire-timeout": s.AcquireTimeout.String(),
	}
}

func (s LeaseMajority) counts() (role string, order func(a, b Member) int) {
	return s.Role, compareAddress
}

func (s LeaseMajority) propose(sc *scene) proposal {
	if sc.indirect().found() {
		p := indirectProposal()
		p.lease = true
		return p
	}
	p := proposal{action: DownUnreachable, lease: true, rule: RuleLease}
	members := sc.counted(counting{})
	here, there := sc.split(counting{})
	switch {
	case len(members) == 0:
		p.words = "no member is counted, so no side is the minority: it goes on if it gets the lease"
	case len(there) > len(here):
		p.delay = s.withDefaults().MinorityDelay
		p.words = fmt.Sprintf("%d of %d is the minority: it goes on only if nobody takes the lease within %v", len(here), len(members), p.delay)
	case len(there) == len(here) && sc.unreachable[members[0].ID]:
		p.delay = s.withDefaults().MinorityDelay
		p.words = fmt.Sprintf("%d against %d is a tie, and the lowest address %s is there: this side goes on only if nobody takes the lease within %v", len(here), len(there), members[0].Addr, p.delay)
	case len(there) == len(here):
		p.words = fmt.Sprintf("%d against %d is a tie, and the lowest address %s is here: it goes on if it gets the lease", len(here), len(there), members[0].Addr)
	default:
		p.words = fmt.Sprintf("%d of %d is the majority: it goes on if it gets the lease", len(here), len(members))
	}
	return p
}

func (s LeaseMajority) onVoters(c *count) preference {
	return c.byVotes(s.withDefaults().MinorityDelay)
}
