package sharding_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// slowStart is an entity that takes a second to start, as with a slow store.
type slowStart struct {
	ran *atomic.Int64
	a   *sharding.Activation
}

func (s *slowStart) Start(_ context.Context, a *sharding.Activation) error {
	s.a = a
	elapse(time.Second)
	return nil
}

func (s *slowStart) Handle(_ context.Context, c *sharding.Call) (any, error) {
	if !s.a.Valid() {
		s.ran.Add(1)
	}
	return c.Request, nil
}

func (s *slowStart) Stop(context.Context) {}

func TestACallIsNotRunWhenTheSessionEndedWhileTheEntityStarted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var ran atomic.Int64
		echo, def := sharding.MakeMethod[int, int]("slow", "echo", nil, nil)
		typ := entityFunc(func() *sharding.Definition {
			return &sharding.Definition{
				Name: "slow", Shards: 1, Methods: map[string]*sharding.MethodDef{"echo": def},
				New: func() sharding.Behavior { return &slowStart{ran: &ran} },
			}
		})
		w := newWorld(t, 1, nil, typ)
		owner := w.nodes[0]
		w.assign(placement.Key{Type: "slow"}, owner)
		go func() {
			elapse(500 * time.Millisecond)
			owner.session.Store(false)
			elapse(time.Second)
			owner.session.Store(true)
		}()
		// Asked again by itself, and run once the session is back.
		if got, err := echo.Ask(within(t, 5*time.Second), owner, "e", 7); err != nil || got != 7 {
			t.Errorf("got %d, %v, want 7", got, err)
		}
		if n := ran.Load(); n != 0 {
			t.Errorf("got %d calls run without a session, want 0", n)
		}
	})
}
