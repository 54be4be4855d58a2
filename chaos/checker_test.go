package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// bankOf is a sound history of one account that tests spoil: deposits of 100, 201,
// 302 … one after the other, each a second long.
func bankOf(n int) *History {
	h := &History{Final: map[string]Statement{}}
	var s Statement
	for i := range n {
		amount := int64(100 + 101*i)
		s = Statement{s.Balance + amount, s.Sequence + 1}
		start := time.Duration(i) * 2 * time.Second
		d := Deposit{Account: "1", Key: fmt.Sprintf("key-%d", i), Amount: amount, Start: start, End: start + time.Second}
		answer(&d, s)
		h.Deposits = append(h.Deposits, d)
	}
	h.Final["1"] = s
	return h
}

func answer(d *Deposit, s Statement) {
	d.Acked, d.Reply = true, Reply{s, d.Account, d.Key}
	body, err := json.Marshal(d.Reply)
	if err != nil {
		d.Body = err.Error()
		return
	}
	d.Body = string(body)
}

// unacknowledge forgets the reply to a deposit.
func unacknowledge(d *Deposit) { d.Acked, d.Reply, d.Body = false, Reply{}, "" }

// without removes the effect of the i-th deposit from all that came after.
func without(h *History, i int) {
	amount := h.Deposits[i].Amount
	for j := i + 1; j < len(h.Deposits); j++ {
		s := h.Deposits[j].Reply.Statement
		answer(&h.Deposits[j], Statement{s.Balance - amount, s.Sequence - 1})
	}
	f := h.Final["1"]
	h.Final["1"] = Statement{f.Balance - amount, f.Sequence - 1}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(h *History)
		want  Rule // "" when the history is sound
	}{
		{"a sound history", func(*History) {}, ""},
		{"no deposit at all", func(h *History) { *h = History{Final: map[string]Statement{"1": {}}} }, ""},
		{"an unacknowledged deposit that ran", func(h *History) { unacknowledge(&h.Deposits[4]) }, ""},
		{"the last one unacknowledged, and it ran", func(h *History) { unacknowledge(&h.Deposits[9]) }, ""},
		{"an unacknowledged deposit that did not run", func(h *History) {
			unacknowledge(&h.Deposits[4])
			without(h, 4)
		}, ""},
		{"neighbours that ran unacknowledged", func(h *History) {
			unacknowledge(&h.Deposits[4])
			unacknowledge(&h.Deposits[5])
			unacknowledge(&h.Deposits[8])
		}, ""},
		{"repeats with the same reply", func(h *History) { h.Deposits[3].Repeats = []string{h.Deposits[3].Body, h.Deposits[3].Body} }, ""},
		{"reads in time", func(h *History) {
			for _, d := range h.Deposits {
				h.Reads = append(h.Reads, Read{d.Reply.Statement, "1", d.End + time.Millisecond, d.End + 2*time.Millisecond})
			}
		}, ""},
		{"a read that overlaps a deposit may see it or not", func(h *History) {
			d, before := h.Deposits[5], h.Deposits[4].Reply.Statement
			h.Reads = []Read{{d.Reply.Statement, "1", d.Start, d.End}, {before, "1", d.Start, d.End + time.Hour}}
		}, ""},
		{"deposits that overlap, in either order", func(h *History) {
			h.Deposits[5].Start, h.Deposits[6].Start = h.Deposits[4].Start, h.Deposits[4].Start
		}, ""},

		{"an acknowledged deposit is lost", func(h *History) { without(h, 4) }, NothingLost},
		{"the last acknowledged deposit is lost", func(h *History) { without(h, 9) }, NothingLost},
		{"all is lost", func(h *History) { h.Final["1"] = Statement{} }, NothingLost},
		{"a deposit is lost while an unacknowledged one of another amount ran", func(h *History) {
			unacknowledge(&h.Deposits[9]) // it ran, so that the count is right
			f := h.Final["1"]
			h.Final["1"] = Statement{f.Balance - h.Deposits[4].Amount, f.Sequence - 1}
		}, OneHistory},
		{"a deposit is doubled at the end", func(h *History) {
			f := h.Final["1"]
			h.Final["1"] = Statement{f.Balance + h.Deposits[2].Amount, f.Sequence + 1}
		}, OnceOnly},
		{"a deposit is doubled in the middle", func(h *History) {
			double(h, 6, h.Deposits[2].Amount)
		}, OnceOnly},
		{"an acknowledged deposit is doubled and an unacknowledged one did not run", func(h *History) {
			unacknowledge(&h.Deposits[4])
			without(h, 4)
			double(h, 6, h.Deposits[2].Amount)
		}, OnceOnly},
		{"an unacknowledged deposit is doubled", func(h *History) {
			amount := h.Deposits[4].Amount
			unacknowledge(&h.Deposits[4])
			double(h, 6, amount)
		}, OnceOnly},
		{"money without a deposit", func(h *History) {
			f := h.Final["1"]
			h.Final["1"] = Statement{f.Balance + 1, f.Sequence}
		}, OneHistory},
		{"the history forks: two deposits with one sequence", func(h *History) {
			s := h.Deposits[4].Reply.Statement
			answer(&h.Deposits[5], Statement{s.Balance - h.Deposits[4].Amount + h.Deposits[5].Amount, s.Sequence})
		}, OneHistory},
		{"the history forks: a balance from another line", func(h *History) {
			s := h.Deposits[5].Reply.Statement
			answer(&h.Deposits[5], Statement{s.Balance - h.Deposits[4].Amount, s.Sequence})
		}, OneHistory},
		{"the history forks: a read from another line", func(h *History) {
			d := h.Deposits[5]
			h.Reads = []Read{{Statement{d.Reply.Balance + 1, d.Reply.Sequence}, "1", d.End, d.End + 1}}
		}, OneHistory},
		{"a first deposit with sequence 0", func(h *History) { answer(&h.Deposits[0], Statement{}) }, OneHistory},
		{"a repeat gets another reply", func(h *History) {
			h.Deposits[3].Repeats = []string{h.Deposits[3].Body, h.Deposits[4].Body}
		}, OneReply},
		{"a reply under the key of another", func(h *History) { h.Deposits[3].Reply.TransactionID = "key-4" }, OneReply},
		{"a reply of another account", func(h *History) { h.Deposits[3].Reply.AccountNo = "2" }, OneReply},
		{"a stale read", func(h *History) {
			d := h.Deposits[5]
			h.Reads = []Read{{h.Deposits[4].Reply.Statement, "1", d.End + time.Millisecond, d.End + 2*time.Millisecond}}
		}, RealTime},
		{"a read of the future", func(h *History) {
			d := h.Deposits[5]
			h.Reads = []Read{{d.Reply.Statement, "1", d.Start - 2*time.Millisecond, d.Start - time.Millisecond}}
		}, RealTime},
		{"reads that go back", func(h *History) {
			d, end := h.Deposits[9], time.Hour
			d.End = end
			h.Deposits[9] = d
			h.Reads = []Read{
				{d.Reply.Statement, "1", d.Start, d.Start + 1},
				{h.Deposits[8].Reply.Statement, "1", d.Start + 2, d.Start + 3},
			}
		}, RealTime},
		{"a later deposit comes first in the line", func(h *History) {
			a, b := &h.Deposits[4], &h.Deposits[5]
			a.Start, a.End, b.Start, b.End = b.Start, b.End, a.Start, a.End
		}, RealTime},
		{"the final balance is not known", func(h *History) { delete(h.Final, "1") }, Decidable},
		{"two deposits of the same amount", func(h *History) { h.Deposits[4].Amount = h.Deposits[5].Amount }, Decidable},
		{"two deposits with one key", func(h *History) { h.Deposits[4].Key = h.Deposits[5].Key }, Decidable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := bankOf(10)
			tt.spoil(h)
			got := h.Check()
			if tt.want == "" && len(got) > 0 || tt.want != "" && !slices.ContainsFunc(got, func(v Violation) bool { return v.Rule == tt.want }) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
}

// double executes a deposit of amount again before the i-th.
func double(h *History, i int, amount int64) {
	for j := i; j < len(h.Deposits); j++ {
		if h.Deposits[j].Acked {
			s := h.Deposits[j].Reply.Statement
			answer(&h.Deposits[j], Statement{s.Balance + amount, s.Sequence + 1})
		}
	}
	f := h.Final["1"]
	h.Final["1"] = Statement{f.Balance + amount, f.Sequence + 1}
}

func TestTooManyUnacknowledgedDepositsAreSaid(t *testing.T) {
	h := bankOf(maxUnknown + 2)
	for i := range h.Deposits[:maxUnknown+1] {
		unacknowledge(&h.Deposits[i])
	}
	got := fmt.Sprint(h.Check())
	if want := "21 deposits were not acknowledged"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %q", got, want)
	}
	unlucky := bankOf(maxUnknown) // none explains the end: the search must end all the same
	for i := range unlucky.Deposits {
		unacknowledge(&unlucky.Deposits[i])
	}
	f := unlucky.Final["1"]
	unlucky.Final["1"] = Statement{f.Balance - 1, f.Sequence - 10}
	if got := fmt.Sprint(unlucky.Check()); !strings.Contains(got, string(OnceOnly)) {
		t.Errorf("got %s, want %q", got, OnceOnly)
	}
}

// TestSoundHistoriesPassWhateverTheOrder runs random clients against a model of the
// bank that loses replies, and requests, but is otherwise right.
func TestSoundHistoriesPassWhateverTheOrder(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		h := History{Final: map[string]Statement{"1": {}}}
		for i := range 60 {
			at := time.Duration(i) * time.Second
			d := Deposit{
				Account: "1", Key: fmt.Sprint(i), Amount: int64(1 + 4099*(i+1)%9973),
				Start: at - time.Duration(random.IntN(5000))*time.Millisecond, End: at + time.Duration(random.IntN(5000))*time.Millisecond,
			}
			fate := random.IntN(20)
			if fate > 0 { // else the request is lost
				s := h.Final["1"]
				h.Final["1"] = Statement{s.Balance + d.Amount, s.Sequence + 1}
			}
			if fate > 1 { // else the reply is lost
				answer(&d, h.Final["1"])
			}
			h.Deposits = append(h.Deposits, d)
			h.Reads = append(h.Reads, Read{h.Final["1"], "1", at, at + time.Duration(random.IntN(3000))*time.Millisecond})
		}
		random.Shuffle(len(h.Deposits), func(i, j int) { h.Deposits[i], h.Deposits[j] = h.Deposits[j], h.Deposits[i] })
		if got := h.Check(); len(got) > 0 {
			t.Fatalf("seed %d: got %v, want none", seed, got)
		}
	}
}
