package sbr

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// DefaultStableAfter is how long members must have been unreachable, and
// nothing else have changed, before a decision.
const DefaultStableAfter = 5 * time.Second

// Off switches a duration of [Settings] off.
const Off time.Duration = -1

// Responsible says which node of a side acts.
type Responsible uint8

const (
	// LeaderActs: the node that [LeaderChanged] named last.
	LeaderActs Responsible = iota
	// OldestActs: the oldest counted member that is reachable.
	OldestActs
)

// String returns "leader" or "oldest".
func (r Responsible) String() string {
	switch r {
	case LeaderActs:
		return "leader"
	case OldestActs:
		return "oldest"
	}
	return fmt.Sprintf("responsible(%d)", uint8(r))
}

// Settings of a [Resolver]. All nodes of a cluster must have the same.
type Settings struct {
	// Strategy that decides. Defaults to KeepMajority{}.
	Strategy Strategy
	// StableAfter is how long the view must have stayed the same before a
	// decision. Defaults to 5 s; Off decides at the next tick, which only a
	// simulation wants.
	StableAfter time.Duration
	// DownAllWhenUnstable is how much longer than StableAfter reachability may
	// keep changing before all members go, because the sides may have seen
	// different moments of it. Defaults to 3/4 of StableAfter and at least 4 s;
	// Off never gives up.
	DownAllWhenUnstable time.Duration
	// Responsible is who acts for a side. Defaults to LeaderActs.
	Responsible Responsible
}

// WithDefaults returns the settings with every default filled in.
func (s Settings) WithDefaults() Settings {
	if s.Strategy == nil {
		s.Strategy = KeepMajority{}
	}
	if s.StableAfter == 0 {
		s.StableAfter = DefaultStableAfter
	}
	if s.DownAllWhenUnstable == 0 {
		s.DownAllWhenUnstable = max(4*time.Second, s.StableAfter/4*3)
	}
	return s
}

// Validate reports all settings that are out of range.
func (s Settings) Validate() error {
	s = s.WithDefaults()
	var errs []error
	switch st := s.Strategy.(type) {
	case KeepMajority, StaticQuorum, KeepOldest, DownAll, LeaseMajority:
		errs = append(errs, st.Validate())
	default:
		errs = append(errs, fmt.Errorf("strategy is a %T: use the struct itself, so that strategies compare", st))
	}
	if s.StableAfter < 0 && s.StableAfter != Off {
		errs = append(errs, fmt.Errorf("stable-after is %v: set a positive duration, 0 for %v, or Off", s.StableAfter, DefaultStableAfter))
	}
	if s.DownAllWhenUnstable < 0 && s.DownAllWhenUnstable != Off {
		errs = append(errs, fmt.Errorf("down-all-when-unstable is %v: set a positive duration, 0 for the default, or Off", s.DownAllWhenUnstable))
	}
	if s.Responsible > OldestActs {
		errs = append(errs, fmt.Errorf("responsible is %v: use LeaderActs or OldestActs", s.Responsible))
	}
	return errors.Join(errs...)
}

// Parameters returns every setting by name with its default filled in, for the
// check at join that all nodes decide alike. The strategy's own are prefixed by
// "sbr.", as are all.
func (s Settings) Parameters() map[string]string {
	s = s.WithDefaults()
	out := map[string]string{
		"sbr.strategy":               s.Strategy.Name(),
		"sbr.stable-after":           duration(s.StableAfter),
		"sbr.down-all-when-unstable": duration(s.DownAllWhenUnstable),
		"sbr.responsible":            s.Responsible.String(),
	}
	params := s.Strategy.Parameters()
	for k := range maps.Keys(params) {
		out["sbr."+k] = params[k]
	}
	return out
}

func duration(d time.Duration) string {
	if d == Off {
		return "off"
	}
	return d.String()
}
