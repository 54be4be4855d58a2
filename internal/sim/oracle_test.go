package sim

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// scene is an oracle with a journal to write to.
type scene struct {
	t     *testing.T
	o     *oracle
	store *memory.Store
	token journal.Token
	seq   uint64
	a     *activation
	via   *process
}

func (s *scene) process(id member.NodeID) *process {
	return &process{self: member.Node{ID: id, Addr: string(id) + ":1"}}
}

func (s *scene) activate(p *process, generation, epoch uint64, open bool) *activation {
	return s.o.activated(p, &sharding.Activation{
		ID: "x", Shard: s.shard().Index, Generation: generation, Epoch: epoch, Valid: func() bool { return open },
	})
}

func (s *scene) shard() journal.Shard {
	return journal.Shard{Type: "account", Index: sharding.ShardOf("x", shards)}
}

// write appends a move to the only account.
func (s *scene) write(a *activation, op, stream string, n int, amount int64) {
	s.t.Helper()
	payload, err := json.Marshal(moved{Op: op, Amount: amount, Stream: stream, N: n})
	if err != nil {
		s.t.Fatal(err)
	}
	w := journal.Append{
		Stream: journal.Stream{Shard: s.shard(), ID: "x"}, Token: s.token, Expected: s.seq,
		Events: []journal.Event{{Type: "event", Version: 1, Payload: payload}},
	}
	r := s.store.Append(context.Background(), []journal.Append{w})[0]
	if r.Err != nil {
		s.t.Fatal(r.Err)
	}
	s.o.appended(a, &w, r)
	s.seq = r.Seq
}

func (s *scene) call(id string, kind opKind, reply statement, err error) {
	p := &op{id: id, entity: "x", kind: kind, via: s.via, timeout: 1 << 40}
	s.o.begin(p)
	s.o.end(p, reply, err, false)
}

func TestTheOracleSeesWhatIsWrong(t *testing.T) {
	tests := []struct {
		name string
		play func(s *scene)
		want string // the invariant; "" for none
	}{
		{"nothing", func(s *scene) {
			s.write(s.a, "1", "s", 1, 5)
			s.call("1", plain, statement{1, 5}, nil)
			s.call("2", reading, statement{1, 5}, nil)
			s.call("3", plain, statement{}, &sharding.Error{Code: sharding.Unavailable})
			s.write(s.a, "4", "s", 2, 5)
			s.call("4", plain, statement{}, &sharding.Error{Code: sharding.Lost})
		}, ""},
		{"an acknowledged call is not in the journal", func(s *scene) { s.call("1", plain, statement{1, 5}, nil) }, "I3"},
		{"a reply that is not the journal's", func(s *scene) {
			s.write(s.a, "1", "", 0, 5)
			s.call("1", keyed, statement{1, 6}, nil)
		}, "I9"},
		{"a command twice", func(s *scene) {
			s.write(s.a, "1", "", 0, 5)
			s.write(s.a, "1", "", 0, 5)
		}, "I9"},
		{"a call that has not run, it says", func(s *scene) {
			s.write(s.a, "1", "", 0, 5)
			s.call("1", plain, statement{}, &sharding.Error{Code: sharding.Unavailable})
		}, "I4"},
		{"a tell that was not sent, it says", func(s *scene) {
			s.write(s.a, "1", "", 0, 5)
			s.call("1", tell, statement{}, &sharding.Error{Code: sharding.Overloaded})
		}, "I4"},
		{"a refusal that has run", func(s *scene) {
			s.write(s.a, "1", "", 0, 5)
			s.call("1", plain, statement{}, &sharding.Error{Code: sharding.Rejected, Err: errInsufficient})
		}, "I4"},
		{"an order that is not the sender's", func(s *scene) {
			s.write(s.a, "2", "s", 2, 5)
			s.write(s.a, "1", "s", 1, 5)
		}, "I5"},
		{"a balance that the rules do not allow", func(s *scene) { s.write(s.a, "1", "", 0, -5) }, "I2"},
		{"a read that does not see what was acknowledged", func(s *scene) {
			s.write(s.a, "1", "", 0, 5)
			s.call("1", plain, statement{1, 5}, nil)
			s.call("2", reading, statement{0, 0}, nil)
		}, "I3"},
		{"a read of what never was", func(s *scene) { s.call("1", reading, statement{1, 5}, nil) }, "I2"},
		{"a write of an activation that a later one does not know of", func(s *scene) {
			later := s.activate(s.via, 1, 1, true)
			s.o.loaded(later, later.stream())
			s.write(s.a, "1", "", 0, 5)
		}, "I2"},
		{"a write under an older token", func(s *scene) {
			s.o.tokens[s.shard()] = journal.Token{Generation: 2}
			s.write(s.a, "1", "", 0, 5)
		}, "I2"},
		{"two nodes with open gates", func(s *scene) {
			s.o.executes(s.activate(s.process("b"), 1, 2, true))
		}, "I1"},
		{"two nodes, one with its gate closed", func(s *scene) {
			s.activate(s.process("b"), 1, 0, false)
			s.o.executes(s.a)
		}, ""},
		{"an execution under an older assignment", func(s *scene) {
			s.o.executes(s.a)
			s.o.passivated(s.a)
			s.o.executes(s.activate(s.process("b"), 0, 9, true))
		}, "I1"},
		{"two tables at one index", func(s *scene) {
			s.o.tableSeen(s.process("a"), 1, 7, 1)
			s.o.tableSeen(s.process("b"), 1, 7, 2)
		}, "table"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &scene{t: t, o: newOracle(), store: memory.New()}
			s.via = s.process("a")
			s.a = s.activate(s.via, 1, 1, true)
			var err error
			if s.token, err = s.store.Claim(t.Context(), s.shard(), 1, 1, "a"); err != nil {
				t.Fatal(err)
			}
			tt.play(s)
			s.o.verify(s.store, []string{"x"})
			var got []string
			for _, v := range s.o.violations {
				got = append(got, v.Invariant)
			}
			if tt.want == "" && got != nil || tt.want != "" && !slices.Contains(got, tt.want) {
				t.Errorf("got %v, want %q: %v", got, tt.want, s.o.violations)
			}
		})
	}
}

func TestARepeatThatGetsAnotherReplyIsSeen(t *testing.T) {
	w := &world{oracle: newOracle()}
	via := &process{}
	p := &op{id: "1", via: via, outcome: done, reply: statement{1, 5}}
	for _, q := range []*op{
		{id: "1", via: via, outcome: done, reply: statement{2, 5}},
		{id: "1", via: via, outcome: rejected, err: errors.Join(errInsufficient)},
	} {
		before := len(w.oracle.violations)
		w.sameOutcome(p, q)
		if len(w.oracle.violations) != before+1 {
			t.Errorf("got no violation for %+v after %+v", q.reply, p.reply)
		}
	}
}
