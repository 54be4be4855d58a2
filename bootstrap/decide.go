package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Settings of the decision. The zero value means the defaults.
type Settings struct {
	// RequiredContactPoints is the number of distinct nodes, this one included,
	// that must answer before a cluster is formed. Set it to the number of nodes
	// of the first start; 1 is for a node that is alone. Defaults to 2.
	RequiredContactPoints int
	// StableMargin is how long the set of contact points must not have changed
	// before a cluster is formed. Defaults to 5 s.
	StableMargin time.Duration
	// IgnoreSilent allows a cluster to be formed although a contact point that
	// was discovered does not answer. It may be the one that forms a cluster at
	// the same moment. Defaults to false.
	IgnoreSilent bool
	// JoinOnly forbids forming a cluster: this node waits until it finds one. It
	// is meant to be set after the first start. Defaults to false.
	JoinOnly bool
	// AnswerTTL is how long an answer of a contact point counts. Defaults to 3 s.
	AnswerTTL time.Duration
}

// WithDefaults returns the settings with zero fields replaced by their defaults.
func (s Settings) WithDefaults() Settings {
	s.RequiredContactPoints = cmp.Or(s.RequiredContactPoints, 2)
	s.StableMargin = cmp.Or(s.StableMargin, 5*time.Second)
	s.AnswerTTL = cmp.Or(s.AnswerTTL, 3*time.Second)
	return s
}

// ContactPoint is a place where a node's management server may answer.
type ContactPoint struct {
	Host string
	// Port is 0 when it is not known.
	Port int
	// IP is the address of Host, the zero value when it is not known.
	IP netip.Addr
}

// Addr is the address that contact points are ordered by: the IP address when
// it is known, else the host, and the port.
func (p ContactPoint) Addr() string {
	host := strings.Trim(p.Host, "[]")
	if p.IP.IsValid() {
		host = p.IP.Unmap().String()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(p.Port)
}

// CompareContactPoints is a total order of contact points: by address as in
// [member.CompareAddr] (IP addresses unsigned and before names), then by host.
func CompareContactPoints(a, b ContactPoint) int {
	return cmp.Or(member.CompareAddr(a.Addr(), b.Addr()), cmp.Compare(a.Host, b.Host))
}

// Self is the node that decides.
type Self struct {
	// Node has the id of this process and its cluster address.
	Node member.Node
	// Cluster is the name of the cluster that it wants to be in.
	Cluster string
	// Host and Port of its management server, as others reach it.
	Host string
	Port int
}

// is reports whether a contact point denotes this node by its address.
func (s Self) is(p ContactPoint) bool {
	if p.Port != 0 && p.Port != s.Port {
		return false
	}
	host := strings.Trim(s.Host, "[]")
	if strings.Trim(p.Host, "[]") == host {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && p.IP.IsValid() && ip.Unmap() == p.IP.Unmap()
}

// Answer is what a contact point answered.
type Answer struct {
	Point ContactPoint
	// At is when the answer arrived.
	At time.Time
	// Node that answered, "" when it did not say.
	Node member.NodeID
	// Management is the address of the management server as that node knows it,
	// "" when it did not say.
	Management string
	// Cluster that it belongs to or wants to be in, "" when it did not say.
	Cluster string
	// Generation of its cluster, 0 when it is in none.
	Generation uint64
	// Seeds are members of its cluster; none when it is in none.
	Seeds []Seed
}

// Observations is what is known at the time of a decision.
type Observations struct {
	// Points that were discovered.
	Points []ContactPoint
	// ChangedAt is when the set of points last changed. The zero time means that
	// nothing has been discovered yet.
	ChangedAt time.Time
	// DiscoveryErr says why the last discovery failed, "" when it did not.
	DiscoveryErr string
	// Answers has at most one answer of each contact point.
	Answers []Answer
}

// Action says what to do.
type Action string

// Actions.
const (
	KeepProbing Action = "keep-probing"
	Form        Action = "form"
	Join        Action = "join"
)

// Cause names the rule that decided. The texts appear in logs.
type Cause string

// Causes, in the order in which the rules are tried.
const (
	// FoundCluster: a contact point named members.
	FoundCluster Cause = "found-cluster"
	// OnlyOwnAddress: the one member that was named listens at this node's own
	// address, so it is an earlier process that the cluster has not removed yet.
	OnlyOwnAddress Cause = "only-own-address"
	// NoDiscovery: nothing was discovered yet, or the last attempt failed.
	NoDiscovery Cause = "no-discovery"
	// NewClusterDisabled: no cluster was found, and this node must not form one.
	NewClusterDisabled Cause = "new-cluster-disabled"
	// TooFewContactPoints: not enough nodes have answered.
	TooFewContactPoints Cause = "too-few-contact-points"
	// NotStable: the contact points changed within the stable margin.
	NotStable Cause = "not-stable"
	// SilentContactPoints: a contact point does not answer.
	SilentContactPoints Cause = "silent-contact-points"
	// SelfNotDiscovered: this node is not among the contact points.
	SelfNotDiscovered Cause = "self-not-discovered"
	// NotLowest: another node has the lowest address and is to form the cluster.
	NotLowest Cause = "not-lowest"
	// Lowest: this node has the lowest address.
	Lowest Cause = "lowest"
)

// Decision says what to do and why.
type Decision struct {
	Action Action
	// Addrs are the cluster addresses to join, at most MaxJoinAddrs.
	Addrs []string
	Cause Cause
	// Reason is for people, with the values that led to the decision.
	Reason string
}

// MaxJoinAddrs bounds the addresses of a decision to join.
const MaxJoinAddrs = 10

// Decide says what a node that is in no cluster should do now.
//
// A cluster that somebody is in is joined at once. Otherwise, when enough nodes
// have answered, all of them have for as long as the set is unchanged, and none
// has a lower address, this node forms one. Nodes that decide from different
// discovery answers at the same moment can both come to that conclusion: the
// claim in the store (generation) lets one of them win.
func Decide(now time.Time, self Self, s Settings, o Observations) Decision {
	s = s.WithDefaults()
	answers, foreign := sift(now, self, s, o)

	if d, found := join(self, answers); found {
		return d
	}
	wait := func(c Cause, format string, args ...any) Decision {
		return Decision{Action: KeepProbing, Cause: c, Reason: fmt.Sprintf(format, args...) + foreign}
	}
	nodes := distinct(self, answers)
	switch stable := now.Sub(o.ChangedAt); {
	case s.JoinOnly:
		return wait(NewClusterDisabled, "no cluster found among %d contact points, of which %d answered, and forming a new one is disabled: enable it on the nodes of a first start", len(o.Points), len(nodes))
	case o.DiscoveryErr != "":
		return wait(NoDiscovery, "discovery failed: %s", o.DiscoveryErr)
	case o.ChangedAt.IsZero():
		return wait(NoDiscovery, "nothing has been discovered yet")
	case len(nodes) < s.RequiredContactPoints:
		return wait(TooFewContactPoints, "%d of at least %d nodes have answered, at %d contact points", len(nodes), s.RequiredContactPoints, len(o.Points))
	case stable < s.StableMargin:
		return wait(NotStable, "the contact points changed %v ago, less than the stable margin of %v", stable, s.StableMargin)
	}
	if silent := silentPoints(now, s, o); len(silent) > 0 && !s.IgnoreSilent {
		return wait(SilentContactPoints, "%d of %d contact points do not answer: %s", len(silent), len(o.Points), list(silent))
	}
	if !slices.ContainsFunc(nodes, func(n candidate) bool { return n.self }) {
		return wait(SelfNotDiscovered, "%s:%d, the management server of this node, is not among the contact points that answered: correct its address or the discovery", self.Host, self.Port)
	}
	if lowest := slices.MinFunc(nodes, compareCandidates); !lowest.self {
		return wait(NotLowest, "of %d nodes %s has the lowest address and is to form the cluster", len(nodes), lowest.addr)
	}
	return Decision{Action: Form, Cause: Lowest, Reason: fmt.Sprintf("no cluster found, %d nodes answered, and this one has the lowest address", len(nodes)) + foreign}
}

// sift returns the answers that count, in order of contact point; foreign describes those that come from
// another cluster, which do not.
func sift(now time.Time, self Self, s Settings, o Observations) (answers []Answer, foreign string) {
	var others []ContactPoint
	for _, a := range o.Answers {
		switch {
		case now.Sub(a.At) > s.AnswerTTL:
		case a.Cluster != "" && a.Cluster != self.Cluster:
			others = append(others, a.Point)
		default:
			answers = append(answers, a)
		}
	}
	slices.SortFunc(answers, func(a, b Answer) int { return CompareContactPoints(a.Point, b.Point) })
	if len(others) > 0 {
		foreign = fmt.Sprintf("; ignored %d contact points of other clusters: %s", len(others), list(others))
	}
	return answers, foreign
}

// join decides to join when somebody named members. Only those of the newest
// generation count: an older one is over, even if not all of its nodes know.
func join(self Self, answers []Answer) (Decision, bool) {
	var newest uint64
	for _, a := range answers {
		if len(a.Seeds) > 0 {
			newest = max(newest, a.Generation)
		}
	}
	var seeds []Seed
	named := 0
	for _, a := range answers {
		if a.Generation != newest {
			continue
		}
		named += len(a.Seeds)
		for _, seed := range a.Seeds {
			if seed.ID == self.Node.ID || seed.Addr == self.Node.Addr {
				continue
			}
			if !slices.ContainsFunc(seeds, func(have Seed) bool { return have.Addr == seed.Addr }) {
				seeds = append(seeds, seed)
			}
		}
	}
	switch {
	case named == 0:
		return Decision{}, false
	case len(seeds) == 0:
		return Decision{Action: KeepProbing, Cause: OnlyOwnAddress, Reason: fmt.Sprintf("generation %d names no member but an earlier process at the own address %s: waiting for the cluster to remove it", newest, self.Node.Addr)}, true
	}
	slices.SortFunc(seeds, func(a, b Seed) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), member.CompareAddr(a.Addr, b.Addr))
	})
	d := Decision{Action: Join, Cause: FoundCluster}
	for _, seed := range seeds[:min(len(seeds), MaxJoinAddrs)] {
		d.Addrs = append(d.Addrs, seed.Addr)
	}
	d.Reason = fmt.Sprintf("found generation %d with %d members to join through", newest, len(seeds))
	return d, true
}

// candidate is a node that could form the cluster.
type candidate struct {
	id   member.NodeID
	addr string
	self bool
}

// compareCandidates orders nodes by the address that they call their own, so
// that all agree even when they discovered each other under different names.
func compareCandidates(a, b candidate) int {
	return cmp.Or(member.CompareAddr(a.addr, b.addr), cmp.Compare(a.id, b.id))
}

// distinct returns the nodes that answered, each once: a node can be discovered
// under several addresses.
func distinct(self Self, answers []Answer) []candidate {
	var out []candidate
	for _, a := range answers {
		c := candidate{id: a.Node, addr: cmp.Or(a.Management, a.Point.Addr())}
		if a.Node != "" {
			c.self = a.Node == self.Node.ID
		} else {
			c.self = self.is(a.Point)
		}
		same := func(have candidate) bool {
			if c.id != "" || have.id != "" {
				return have.id == c.id
			}
			return have.addr == c.addr
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, c)
		}
	}
	return out
}

// silentPoints returns the contact points without an answer that counts in
// time; one that belongs to another cluster is not silent.
func silentPoints(now time.Time, s Settings, o Observations) []ContactPoint {
	var out []ContactPoint
	for _, p := range o.Points {
		if !slices.ContainsFunc(o.Answers, func(a Answer) bool { return a.Point == p && now.Sub(a.At) <= s.AnswerTTL }) {
			out = append(out, p)
		}
	}
	return out
}

// list names a few contact points in their order.
func list(points []ContactPoint) string {
	const most = 5
	points = slices.SortedFunc(slices.Values(points), CompareContactPoints)
	var names []string
	for _, p := range points[:min(len(points), most)] {
		names = append(names, p.Addr())
	}
	if len(points) > most {
		names = append(names, fmt.Sprintf("and %d more", len(points)-most))
	}
	return strings.Join(names, ", ")
}
