package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Rule names what a violation is against.
type Rule string

// Rules.
const (
	// OneReply: every reply under a key is the same and belongs to that key.
	OneReply Rule = "one reply"
	// OneHistory: replies and reads of an account lie on one line of balances.
	OneHistory Rule = "one history"
	// NothingLost: what was acknowledged is in the account.
	NothingLost Rule = "nothing lost"
	// OnceOnly: no deposit is executed more than once, and none that was not sent.
	OnceOnly Rule = "once only"
	// RealTime: what began after an answer sees what was answered.
	RealTime Rule = "real time"
	// Decidable: the history can be checked at all.
	Decidable Rule = "decidable"
)

// Violation is one thing that is wrong with a history.
type Violation struct {
	Rule    Rule
	Account string
	Text    string
}

// String implements fmt.Stringer.
func (v Violation) String() string {
	return fmt.Sprintf("account %s: %s: %s", v.Account, v.Rule, v.Text)
}

// maxUnknown bounds the unacknowledged deposits of one account: Check tries which
// of them explain the balances.
const maxUnknown = 20

// Check returns what is wrong with the history, account by account.
func (h History) Check() []Violation {
	deposits, reads := map[string][]Deposit{}, map[string][]Read{}
	for _, d := range h.Deposits {
		deposits[d.Account] = append(deposits[d.Account], d)
	}
	for _, r := range h.Reads {
		reads[r.Account] = append(reads[r.Account], r)
	}
	names := map[string]bool{}
	for _, keys := range []map[string]bool{keysOf(deposits), keysOf(reads), keysOf(h.Final)} {
		maps.Copy(names, keys)
	}
	var found []Violation
	for _, name := range slices.Sorted(maps.Keys(names)) {
		final, ok := h.Final[name]
		a := account{name: name, deposits: deposits[name], reads: reads[name], final: final}
		if !ok {
			a.report(Decidable, "its final balance is not known")
		} else {
			a.check()
		}
		found = append(found, a.found...)
	}
	return found
}

func keysOf[V any](m map[string]V) map[string]bool {
	keys := make(map[string]bool, len(m))
	for k := range m {
		keys[k] = true
	}
	return keys
}

// account is the part of a history that is about one account.
type account struct {
	name     string
	deposits []Deposit
	reads    []Read
	final    Statement
	found    []Violation
}

func (a *account) report(rule Rule, format string, args ...any) {
	a.found = append(a.found, Violation{rule, a.name, fmt.Sprintf(format, args...)})
}

func (a *account) check() {
	a.checkReplies()
	a.checkTotals()
	a.checkLine()
	a.checkTime()
}

// checkReplies: each reply belongs to its request, and repeats get the same.
func (a *account) checkReplies() {
	keys, amounts := map[string]bool{}, map[int64]bool{}
	for _, d := range a.deposits {
		if keys[d.Key] || amounts[d.Amount] || d.Amount <= 0 {
			a.report(Decidable, "deposit %s of %d: key and amount must be unique, the amount positive", d.Key, d.Amount)
		}
		keys[d.Key], amounts[d.Amount] = true, true
		if d.Acked && (d.Reply.TransactionID != d.Key || d.Reply.AccountNo != a.name) {
			a.report(OneReply, "deposit %s was answered with %q", d.Key, d.Body)
		}
		for _, again := range d.Repeats {
			if again != d.Body {
				a.report(OneReply, "deposit %s was answered with %q, and when repeated with %q", d.Key, d.Body, again)
			}
		}
	}
}

// checkTotals: the final balance and count lie between what was acknowledged
// and what was sent.
func (a *account) checkTotals() {
	var acked, sent Statement
	for _, d := range a.deposits {
		sent.Balance += d.Amount
		sent.Sequence++
		if d.Acked {
			acked.Balance += d.Amount
			acked.Sequence++
		}
	}
	if a.final.Balance < acked.Balance || a.final.Sequence < acked.Sequence {
		a.report(NothingLost, "it ends with %d after %d deposits, but %d in %d deposits were acknowledged", a.final.Balance, a.final.Sequence, acked.Balance, acked.Sequence)
	}
	if a.final.Balance > sent.Balance || a.final.Sequence > sent.Sequence {
		a.report(OnceOnly, "it ends with %d after %d deposits, but only %d in %d deposits were sent", a.final.Balance, a.final.Sequence, sent.Balance, sent.Sequence)
	}
}

// point is a balance that somebody was told.
type point struct {
	balance int64
	// deposit that led to it, nil when only reads tell of it.
	deposit *Deposit
}

// gap is what happened between two points that follow each other: count
// deposits of together sum, of which nobody was told.
type gap struct {
	from, to uint64
	count    uint64
	sum      int64
}

// checkLine: all that anybody was told lies on one line of balances, and the
// unacknowledged deposits explain what is between.
func (a *account) checkLine() {
	line := map[uint64]*point{0: {}}
	for i := range a.deposits {
		d := &a.deposits[i]
		if !d.Acked {
			continue
		}
		seq := d.Reply.Sequence
		if p, taken := line[seq]; taken {
			other := "the beginning"
			if p.deposit != nil {
				other = "deposit " + p.deposit.Key
			}
			a.report(OneHistory, "deposit %s and %s have sequence %d", d.Key, other, seq)
			continue
		}
		line[seq] = &point{d.Reply.Balance, d}
	}
	told := func(who string, s Statement) {
		p, ok := line[s.Sequence]
		switch {
		case !ok:
			line[s.Sequence] = &point{balance: s.Balance}
		case p.balance != s.Balance:
			a.report(OneHistory, "%s found balance %d at sequence %d, others %d", who, s.Balance, s.Sequence, p.balance)
		}
	}
	for _, r := range a.reads {
		told("a read", r.Statement)
	}
	told("the end", a.final)

	var gaps []gap
	sequences := slices.Sorted(maps.Keys(line))
	for i, seq := range sequences[1:] {
		before, p := sequences[i], line[seq]
		if seq > a.final.Sequence {
			a.report(NothingLost, "sequence %d was told, but the account ends at %d", seq, a.final.Sequence)
			return
		}
		g := gap{from: before, to: seq, count: seq - before, sum: p.balance - line[before].balance}
		if p.deposit != nil {
			g.count--
			g.sum -= p.deposit.Amount
		}
		switch {
		case g.count > 0:
			gaps = append(gaps, g)
		case g.sum != 0:
			a.report(OneHistory, "balance %d at sequence %d does not follow from %d at %d by deposit %s of %d", p.balance, seq, line[before].balance, before, p.deposit.Key, p.deposit.Amount)
		}
	}
	a.explain(gaps)
}

// explain finds for each gap the unacknowledged deposits that filled it.
func (a *account) explain(gaps []gap) {
	if len(gaps) == 0 {
		return
	}
	var unknown []int64
	for _, d := range a.deposits {
		if !d.Acked {
			unknown = append(unknown, d.Amount)
		}
	}
	if len(unknown) > maxUnknown {
		a.report(Decidable, "%d deposits were not acknowledged, more than %d", len(unknown), maxUnknown)
		return
	}
	s := search{amounts: unknown, gaps: gaps, failed: map[state]bool{}}
	if !s.fill(0, 0) {
		g := gaps[s.deepest]
		a.report(OnceOnly, "between sequence %d and %d are %d deposits, together %d, that no unacknowledged deposit explains (there are %d)", g.from, g.to, g.count, g.sum, len(unknown))
	}
}

// search assigns unacknowledged deposits to gaps, each at most once.
type search struct {
	amounts []int64
	gaps    []gap
	failed  map[state]bool
	deepest int
}

// state of a search: the gap to fill, and the deposits that are used.
type state struct {
	gap  int
	used uint32
}

// fill reports whether the gaps from the i-th on can be filled.
func (s *search) fill(i int, used uint32) bool {
	if i == len(s.gaps) {
		return true
	}
	s.deepest = max(s.deepest, i)
	at := state{i, used}
	if s.failed[at] {
		return false
	}
	if s.choose(i, used, 0, s.gaps[i].count, s.gaps[i].sum) {
		return true
	}
	s.failed[at] = true
	return false
}

// choose takes count more deposits, from the k-th on, of together sum.
func (s *search) choose(i int, used uint32, k int, count uint64, sum int64) bool {
	if count == 0 {
		return sum == 0 && s.fill(i+1, used)
	}
	for ; k < len(s.amounts); k++ {
		bit := uint32(1) << k
		if used&bit == 0 && s.amounts[k] <= sum && s.choose(i, used|bit, k+1, count-1, sum-s.amounts[k]) {
			return true
		}
	}
	return false
}

// moment is an operation with its place in the line: a read comes after the
// deposit with its sequence.
type moment struct {
	what       string
	seq        uint64
	read       bool
	start, end time.Duration
}

func (m moment) compare(o moment) int {
	order := func(read bool) int {
		if read {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(m.seq, o.seq), cmp.Compare(order(m.read), order(o.read)))
}

// checkTime: of two operations the earlier in the line must not begin after the
// later has ended.
func (a *account) checkTime() {
	var moments []moment
	for _, d := range a.deposits {
		if d.Acked {
			moments = append(moments, moment{"deposit " + d.Key, d.Reply.Sequence, false, d.Start, d.End})
		}
	}
	for _, r := range a.reads {
		moments = append(moments, moment{fmt.Sprintf("a read at %v", r.Start), r.Sequence, true, r.Start, r.End})
	}
	slices.SortStableFunc(moments, func(m, o moment) int { return o.compare(m) }) // latest in the line first
	first := moment{end: math.MaxInt64}                                           // of those later in the line, the one that ended first
	for i := 0; i < len(moments); {
		group := i
		next := first
		for ; i < len(moments) && moments[i].compare(moments[group]) == 0; i++ {
			m := moments[i]
			if first.end < m.start {
				a.report(RealTime, "%s, sequence %d, began at %v, after %s, sequence %d, had ended at %v", m.what, m.seq, m.start, first.what, first.seq, first.end)
			}
			if m.end < next.end {
				next = m
			}
		}
		first = next
	}
}
