package sbr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Strategy says which side of a partition goes on. The five strategies of this
// package are plain comparable structs: two nodes agree when their strategies
// are ==.
//
//sumtype:decl
type Strategy interface {
	// Name of the strategy, such as "keep-majority".
	Name() string
	// Validate reports every parameter that is out of range.
	Validate() error
	// Parameters by name, those included that have a default: what all nodes of
	// a cluster must share.
	Parameters() map[string]string

	// counts returns the role that counting is restricted to, and the order that
	// members are looked at in.
	counts() (role string, order func(a, b Member) int)
	// propose decides by members alone.
	propose(*scene) proposal
	// onVoters says what the strategy makes of a side of a cluster on raft.
	onVoters(*count) preference
}

// preference is what a strategy adds to what raft allows.
type preference struct {
	// stop gives the side up although it may hold the quorum, and abdicate leaves
	// the generation to another side.
	stop, abdicate bool
	rule           Rule
	words          string
	// after is how long the side waits before it claims, and why that long or not
	// at all.
	after time.Duration
	why   string
}

func orDefault(s Strategy) Strategy {
	if s == nil {
		return KeepMajority{}
	}
	return s
}

// Describe returns the name of a strategy with its parameters, but for those
// that are empty or off.
func Describe(s Strategy) string {
	params := s.Parameters()
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		if params[k] != "" && params[k] != "false" {
			parts = append(parts, k+"="+params[k])
		}
	}
	if len(parts) == 0 {
		return s.Name()
	}
	return s.Name() + "(" + strings.Join(parts, " ") + ")"
}

// Parse returns the strategy with that name and parameters, as [Strategy]'s
// Name and Parameters write them; absent parameters have their defaults. The
// error names every unknown or malformed one.
func Parse(name string, params map[string]string) (Strategy, error) {
	p := parser{name: name, left: maps.Clone(params)}
	var s Strategy
	switch name {
	case "keep-majority":
		s = KeepMajority{Role: p.text("role")}
	case "static-quorum":
		s = StaticQuorum{QuorumSize: p.number("quorum-size"), Role: p.text("role")}
	case "keep-oldest":
		s = KeepOldest{DownIfAlone: p.truth("down-if-alone", true), Role: p.text("role"), Strict: p.truth("strict", false)}
	case "down-all":
		s = DownAll{}
	case "lease-majority":
		s = LeaseMajority{
			Role: p.text("role"), Lease: p.text("lease"),
			MinorityDelay: p.duration("minority-delay"), ReleaseAfter: p.duration("release-after"), AcquireTimeout: p.duration("acquire-timeout"),
		}
	default:
		return nil, fmt.Errorf("strategy %q is unknown: use keep-majority, static-quorum, keep-oldest, down-all or lease-majority", name)
	}
	if err := errors.Join(p.end(), s.Validate()); err != nil {
		return nil, err
	}
	return s, nil
}

// parser takes parameters one by one; what is left in the end is unknown.
type parser struct {
	name string
	left map[string]string
	errs []error
}

func (p *parser) text(key string) string {
	v := p.left[key]
	delete(p.left, key)
	return v
}

func (p *parser) bad(key, value, want string) {
	p.errs = append(p.errs, fmt.Errorf("%s: %s is %q: write %s", p.name, key, value, want))
}

func (p *parser) number(key string) int {
	v := p.text(key)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		p.bad(key, v, "a whole number")
	}
	return n
}

func (p *parser) truth(key string, absent bool) bool {
	v := p.text(key)
	if v == "" {
		return absent
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		p.bad(key, v, "true or false")
	}
	return b
}

func (p *parser) duration(key string) time.Duration {
	v := p.text(key)
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		p.bad(key, v, "a duration such as 2s")
	}
	return d
}

func (p *parser) end() error {
	for _, k := range slices.Sorted(maps.Keys(p.left)) {
		p.errs = append(p.errs, fmt.Errorf("%s: parameter %q is unknown", p.name, k))
	}
	return errors.Join(p.errs...)
}
