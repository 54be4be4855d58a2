package cluster

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeavingEndsWithTheMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		victim := without(nodes, leader(nodes...))[0]
		for _, n := range without(nodes, victim) {
			r.net.Cut(victim.self, n.self)
		}
		start := time.Now()
		ctx := r.within(time.Minute)
		leave, exit := make(chan error, 1), make(chan error, 1)
		go func() { leave <- victim.Leave(ctx) }()
		go func() { exit <- victim.Exit(ctx) }()
		_, err := victim.Evacuated(ctx)
		for what, err := range map[string]error{"evacuated": err, "leave": <-leave, "exit": <-exit} {
			if !errors.Is(err, ErrLostQuorum) {
				t.Errorf("%s: got %v, want ErrLostQuorum", what, err)
			}
		}
		if took, limit := time.Since(start), victim.cfg.Timing.LostAfter+4*time.Second; took > limit {
			t.Errorf("got the end after %v, want within %v", took, limit)
		}
		r.stop()
	})
}
