package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAGenerationEndsOnlyWhenNoVoterSetOfItsRowCanHaveAQuorum(t *testing.T) {
	tests := []struct {
		registered, dead int
		want             bool
	}{
		{0, 0, true},
		{1, 0, false},
		{1, 1, true},
		{2, 1, false}, // the other may be the only voter by now
		{2, 2, true},
		{3, 1, false},
		{3, 2, true},
		{4, 2, false}, // two of three
		{4, 3, true},
		{5, 2, false},
		{5, 3, true},
	}
	for _, tt := range tests {
		if got := cannotGoOn(tt.registered, tt.dead); got != tt.want {
			t.Errorf("%d registered, %d dead: got %v, want %v", tt.registered, tt.dead, got, tt.want)
		}
	}
}

// Of two voters one died and was removed; the row still names both.
func TestTheLastVoterThatIsOnlySilentIsNotReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(2)
		survivor := nodes[0]
		if err := nodes[1].Leave(r.within(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := nodes[1].Evacuated(r.within(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := nodes[1].Exit(r.within(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		nodes[1].kill()
		r.await(5*time.Second, "the survivor is alone", func() bool { return survivor.SessionValid() && len(survivor.View().Members) == 1 })
		fresh := r.boot(addr(2))
		r.net.Cut(fresh.self, survivor.self)
		if err := fresh.Form(r.within(5 * time.Second)); !errors.Is(err, ErrClaimed) {
			t.Errorf("got %v, want ErrClaimed: %s is alone, alive and has a session: %v", err, survivor.self, survivor.SessionValid())
		}
		r.stop()
	})
}

// doubtful does what it is asked and says that it does not know.
type doubtful struct {
	*memArbiter
	times int
}

func (d *doubtful) SwapClaim(ctx context.Context, old uint64, next Claim) (Claim, bool, error) {
	row, swapped, err := d.memArbiter.SwapClaim(ctx, old, next)
	if d.times--; d.times >= 0 {
		return Claim{}, false, errors.New("no answer")
	}
	return row, swapped, err
}

func TestAClaimInDoubtIsTakenUp(t *testing.T) {
	for _, tt := range []struct{ unanswered, forms int }{{1, 1}, {3, 1}, {20, 2}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			n := r.boot(addr(1), func(c *Config) { c.Arbiter = &doubtful{r.arbiter, tt.unanswered} })
			forms := 0
			for err := errors.New("not formed"); err != nil && forms < 5; forms++ {
				err = n.Form(r.within(20 * time.Second))
			}
			if g := n.View().Generation; forms != tt.forms || g != 1 {
				t.Errorf("%d answers lost: got generation %d after %d calls of Form, want 1 after %d", tt.unanswered, g, forms, tt.forms)
			}
			r.stop()
		})
	}
}

func TestADeposedLeaderDoesNotRegisterVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		old := leader(nodes...)
		lead := old.leading.Load()
		rest := without(nodes, old)
		for _, n := range rest {
			r.net.Cut(old.self, n.self)
		}
		r.await(10*time.Second, "another leads", func() bool { return leader(rest...) != nil })
		before, _ := r.arbiter.ReadClaim(t.Context())
		if err := lead.writeVoters(t.Context(), []string{"stale@10.0.0.9:25520"}); err == nil {
			t.Error("a deposed leader wrote the voters")
		}
		if after, _ := r.arbiter.ReadClaim(t.Context()); !slices.Equal(after.Voters, before.Voters) {
			t.Errorf("got voters %v, want %v", after.Voters, before.Voters)
		}
		r.stop()
	})
}
