package cluster

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

func TestThreeNodesFormOneClusterAndShareTheShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		for _, n := range nodes {
			v := n.View()
			if got := len(v.Members); got != 3 {
				t.Errorf("%s: got %d members, want 3", n.self, got)
			}
			if v.Generation != 1 {
				t.Errorf("%s: got generation %d, want 1", n.self, v.Generation)
			}
		}
		r.owners.check(nodes...)
		if got := len(r.arbiter.row.Voters); got != 3 {
			t.Errorf("arbiter row: got %d voters %v, want 3", got, r.arbiter.row.Voters)
		}
		r.stop()
	})
}

func TestFiveNodesHaveFiveVotersAndTheSixthFollowsByPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(6)
		r.await(5*time.Second, "all tables are equal", func() bool {
			for _, n := range nodes[1:] {
				if n.replica.index() != nodes[0].replica.index() {
					return false
				}
			}
			return true
		})
		if l := nodes[5].raftNode().LastIndex(); l != 0 {
			t.Errorf("the sixth node: got raft index %d, want 0: it is no raft server", l)
		}
		r.stop()
	})
}

func TestKilledMembersShardsMoveAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		victim := without(nodes, leader(nodes...))[0]
		rest := without(nodes, victim)
		victim.kill()
		took := r.await(5*time.Second, "survivors serve all shards", func() bool { r.owners.check(rest...); return served(rest...) })
		if took > 300*time.Millisecond {
			t.Errorf("got all shards served after %v, want below 300ms", took)
		}
		r.await(5*time.Second, "the victim is removed", func() bool { return len(rest[0].View().Members) == 2 })
		r.stop()
	})
}

func TestKilledLeaderIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		victim := leader(nodes...)
		rest := without(nodes, victim)
		victim.kill()
		took := r.await(6*time.Second, "survivors serve all shards", func() bool { r.owners.check(rest...); return served(rest...) })
		if took > 500*time.Millisecond {
			t.Errorf("got all shards served after %v, want below 500ms", took)
		}
		r.stop()
	})
}

func TestCutOffMemberLosesItsSession(t *testing.T) {
	for _, who := range []string{"member", "leader"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				nodes := r.form(3)
				victim := leader(nodes...)
				if who == "member" {
					victim = without(nodes, victim)[0]
				}
				rest := without(nodes, victim)
				for _, n := range rest {
					r.net.Cut(victim.self, n.self)
				}
				var ended time.Duration
				start := time.Now()
				took := r.await(6*time.Second, "the majority serves all shards", func() bool {
					r.owners.check(nodes...)
					if ended == 0 && !victim.SessionValid() {
						ended = time.Since(start)
					}
					return served(rest...)
				})
				t.Logf("session over after %v, shards served after %v", ended, took)
				if ended == 0 || ended > 3*time.Second {
					t.Errorf("got the session over after %v, want within 3s", ended)
				}
				if took > 4500*time.Millisecond {
					t.Errorf("got all shards served after %v, want within 4.5s", took)
				}
				r.stop()
			})
		})
	}
}

func TestShortBlipKillsNoProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		victim := without(nodes, leader(nodes...))[0]
		rest := without(nodes, victim)
		for _, n := range rest {
			r.net.Cut(victim.self, n.self)
		}
		r.await(6*time.Second, "the majority serves all shards", func() bool { return served(rest...) })
		r.net.Heal()
		r.await(10*time.Second, "the victim serves again", func() bool { r.owners.check(nodes...); return victim.SessionValid() && served(nodes...) })
		select {
		case err := <-victim.Ended():
			t.Errorf("the victim gave up: %v", err)
		default:
		}
		r.settle(nodes...)
		r.stop()
	})
}

func TestLongSilenceDownsAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		victim := without(nodes, leader(nodes...))[0]
		rest := without(nodes, victim)
		r.net.Hang(victim.self)
		r.await(15*time.Second, "the victim is removed", func() bool { return len(rest[0].View().Members) == 2 })
		r.net.Resume(victim.self)
		var err error
		r.await(20*time.Second, "the victim learns that it was downed", func() bool {
			select {
			case err = <-victim.Ended():
				return true
			default:
				return false
			}
		})
		if !errors.Is(err, ErrDowned) && !errors.Is(err, ErrLostQuorum) {
			t.Errorf("got %v, want ErrDowned or ErrLostQuorum", err)
		}
		if victim.SessionValid() {
			t.Error("the downed node still has a session")
		}
		r.stop()
	})
}

func TestNodeWithoutQuorumGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		nodes[0].kill()
		nodes[1].kill()
		var err error
		r.await(40*time.Second, "the last node gives up", func() bool {
			select {
			case err = <-nodes[2].Ended():
				return true
			default:
				return false
			}
		})
		if !errors.Is(err, ErrLostQuorum) {
			t.Errorf("got %v, want ErrLostQuorum", err)
		}
		r.stop()
	})
}

func TestNodeGivesUpSoonWhenTooManyVotersAreProvedDead(t *testing.T) {
	for _, n := range []int{2, 3} {
		for _, who := range []string{"the leader survives", "the leader dies"} {
			t.Run(fmt.Sprintf("%d nodes, %s", n, who), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					nodes := r.form(n)
					last := leader(nodes...)
					if who == "the leader dies" {
						last = without(nodes, last)[0]
					}
					for _, other := range without(nodes, last) {
						other.kill()
					}
					var err error
					took := r.await(20*time.Second, "the survivor gives up", func() bool {
						select {
						case err = <-last.Ended():
							return true
						default:
							return false
						}
					})
					if !errors.Is(err, ErrLostQuorum) || took > 5*time.Second {
						t.Errorf("got %v after %v, want ErrLostQuorum within 5s", err, took)
					}
					r.stop()
				})
			})
		}
	}
}

func TestOneOfManyFormersWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		errs := make([]error, 5)
		nodes := make([]*node, 5)
		for i := range nodes {
			nodes[i] = r.boot(addr(i + 1))
		}
		var wg sync.WaitGroup
		for i, n := range nodes {
			wg.Go(func() { errs[i] = n.Form(r.within(20 * time.Second)) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ErrClaimed) {
				t.Errorf("got %v, want ErrClaimed", err)
			}
		}
		if won != 1 {
			t.Errorf("got %d clusters, want 1", won)
		}
		r.stop()
	})
}

func TestNewGenerationWaitsForTheSessionsOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		for _, n := range nodes {
			n.kill()
		}
		again := r.boot(addr(1))
		start := time.Now()
		if err := again.Form(r.within(20 * time.Second)); err != nil {
			t.Fatalf("form: %v", err)
		}
		if took, want := time.Since(start), again.cfg.Timing.expireAfter(); took < want {
			t.Errorf("got a session after %v, want at least %v", took, want)
		}
		if got := again.View().Generation; got != 2 {
			t.Errorf("got generation %d, want 2", got)
		}
		r.stop()
	})
}

func TestFormIsRefusedWhileAVoterOfTheOldGenerationAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		nodes[1].kill()
		nodes[2].kill()
		n := r.boot(addr(9))
		if err := n.Form(r.within(20 * time.Second)); !errors.Is(err, ErrClaimed) {
			t.Errorf("got %v, want ErrClaimed: %s still answers", err, nodes[0].self)
		}
		r.stop()
	})
}

func TestGracefulLeaveOfEachNodeKeepsAllShardsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		fresh := r.join(addr(4), nodes[0])
		all := append(nodes, fresh)
		r.settle(all...)
		for _, who := range []*node{leader(all...), nil} {
			if who == nil {
				who = without(all, leader(all...))[0]
			}
			ctx := r.within(20 * time.Second)
			if err := who.Leave(ctx); err != nil {
				t.Fatalf("leave: %v", err)
			}
			if ok, err := who.Evacuated(ctx); !ok || err != nil {
				t.Fatalf("evacuated: got %v, %v, want true", ok, err)
			}
			if err := who.Exit(ctx); err != nil {
				t.Fatalf("exit: %v", err)
			}
			who.stop()
			all = without(all, who)
			r.settle(all...)
			r.owners.check(all...)
		}
		r.stop()
	})
}

func TestAllNodesLeaveAtOnceAndTheNextGenerationNeedNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		var wg sync.WaitGroup
		for _, n := range nodes {
			wg.Go(func() {
				ctx := r.within(20 * time.Second)
				if err := n.Leave(ctx); err != nil {
					t.Errorf("%s: leave: %v", n.self, err)
				}
				if _, err := n.Evacuated(ctx); err != nil {
					t.Errorf("%s: evacuated: %v", n.self, err)
				}
				if err := n.Released(ctx, n.ownedOps()); err != nil {
					t.Errorf("%s: released: %v", n.self, err)
				}
				if err := n.Exit(ctx); err != nil {
					t.Errorf("%s: exit: %v", n.self, err)
				}
				n.stop()
			})
		}
		wg.Wait()
		if got := r.arbiter.row.Voters; len(got) != 0 {
			t.Errorf("arbiter row: got voters %v, want none", got)
		}
		again := r.boot(addr(1))
		start := time.Now()
		if err := again.Form(r.within(20 * time.Second)); err != nil {
			t.Fatalf("form: %v", err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("got formed after %v, want at once", took)
		}
		r.stop()
	})
}

func TestRestartAtTheSameAddressReplacesTheDeadMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		victim := without(nodes, leader(nodes...))[0]
		rest := without(nodes, victim)
		victim.kill()
		again := r.join(victim.self.Addr, rest[0])
		r.settle(append(rest, again)...)
		if _, ok := again.View().Find(victim.self.ID); ok {
			t.Error("the dead incarnation is still a member")
		}
		r.stop()
	})
}

func TestJoinIsRefusedWithTheNameOfTheSettingThatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		first := r.form(1)[0]
		tests := []struct {
			name   string
			change func(*Config)
			want   string
		}{
			{"shard count", func(c *Config) { c.Types = map[string]int{"account": 7} }, "shards of account is 7 here and 12 in the cluster"},
			{"strategy", func(c *Config) { c.Settings = map[string]string{"sbr": "down-all"} }, "sbr is down-all here and keep-majority in the cluster"},
			{"cluster name", func(c *Config) { c.Cluster = "other" }, `this is cluster "test", not "other"`},
		}
		for i, tt := range tests {
			n := r.boot(addr(20+i), tt.change)
			err := n.Join(r.within(10*time.Second), []string{first.self.Addr})
			var refused *RefusedError
			if !errors.As(err, &refused) || !refused.Final() || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want a final refusal with %q", tt.name, err, tt.want)
			}
		}
		if got := len(first.View().Members); got != 1 {
			t.Errorf("got %d members after refusals, want 1", got)
		}
		r.stop()
	})
}

func TestAPausedOwnerNeverOverlapsItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		// Pause every node in turn, for less and for more than a session.
		for i, d := range []time.Duration{time.Second, 4 * time.Second, 2 * time.Second, 3500 * time.Millisecond} {
			victim := nodes[i%3]
			r.net.Hang(victim.self)
			for start := time.Now(); time.Since(start) < d; {
				r.owners.check(nodes...)
				<-time.After(5 * time.Millisecond)
			}
			r.net.Resume(victim.self)
			r.await(20*time.Second, "everybody serves again", func() bool { r.owners.check(nodes...); return served(nodes...) })
		}
		r.stop()
	})
}

func TestStoreDownStopsVoterChangesButNotSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(2)
		r.arbiter.mu.Lock()
		r.arbiter.down = true
		r.arbiter.mu.Unlock()
		third := r.join(addr(3), nodes[0])
		all := append(nodes, third)
		r.await(10*time.Second, "three members serve", func() bool { return served(all...) })
		if got := len(r.arbiter.row.Voters); got != 2 {
			t.Errorf("got %d registered voters, want 2", got)
		}
		r.arbiter.mu.Lock()
		r.arbiter.down = false
		r.arbiter.mu.Unlock()
		r.settle(all...)
		r.stop()
	})
}

func TestStatusOfAMemberIsVisibleToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := r.form(1)[0]
		if s, ok := n.Status(); !ok || s != member.Up {
			t.Errorf("got %v, %v, want up", s, ok)
		}
		r.stop()
	})
}

func TestAnElectionThatTakesLongIsNotDisturbed(t *testing.T) {
	for _, tt := range []struct{ delay, within time.Duration }{
		{30 * time.Millisecond, 2 * time.Second},
		{50 * time.Millisecond, 2 * time.Second},
		{90 * time.Millisecond, 15 * time.Second}, // both stand before they hear of each other, and raft repeats by its own random timers
	} {
		t.Run(tt.delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				nodes := r.form(3)
				victim := leader(nodes...)
				rest := without(nodes, victim)
				r.net.Delay(rest[0].self, rest[1].self, tt.delay)
				r.net.Delay(rest[1].self, rest[0].self, tt.delay)
				term := victim.raftNode().CurrentTerm()
				victim.kill()
				took := r.await(20*time.Second, "survivors serve all shards", func() bool { r.owners.check(rest...); return served(rest...) })
				if took > tt.within {
					t.Errorf("got all shards served after %v and %d elections, want at most %v", took, leader(rest...).raftNode().CurrentTerm()-term, tt.within)
				}
				r.stop()
			})
		})
	}
}
