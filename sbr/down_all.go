package sbr

// DownAll gives every side up, to be restarted from outside: safe whatever the
// network does, and an outage each time. It suits clusters that restart fast and
// links that fail rarely.
type DownAll struct{}

// Name implements [Strategy].
func (DownAll) Name() string { return "down-all" }

// Validate implements [Strategy].
func (DownAll) Validate() error { return nil }

// Parameters implements [Strategy]; there are none.
func (DownAll) Parameters() map[string]string { return map[string]string{} }

func (DownAll) counts() (role string, order func(a, b Member) int) { return "", compareAddress }

func (DownAll) propose(*scene) proposal {
	return proposal{action: DownEverybody, rule: RuleDownAll, words: "somebody is unreachable: all go"}
}

func (s DownAll) onVoters(c *count) preference {
	p := s.propose(c.scene)
	return preference{stop: true, rule: p.rule, words: p.words}
}
