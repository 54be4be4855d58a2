package sharding_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
)

func counterType(shards int) (t *sharding.Type[counter], add sharding.Method[int, int]) {
	t = sharding.NewType[counter]("counter")
	t.Shards = shards
	return t, sharding.Handle(t, "add", (*counter).Add)
}

func TestEveryNodeReachesEveryEntity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, add := counterType(30)
		w := newWorld(t, 3, nil, typ)
		w.spread("counter")
		ctx := within(t, time.Minute)
		for i := range 100 {
			id := fmt.Sprintf("entity-%d", i)
			for turn, n := range w.nodes {
				got, err := add.Ask(ctx, n, id, 1)
				if err != nil || got != turn+1 {
					t.Fatalf("ask %s from %s: got %d, %v, want %d", id, n.self.ID, got, err, turn+1)
				}
			}
		}
		total := 0
		for _, n := range w.nodes {
			s := n.Stats()["counter"]
			total += s.Entities
			if s.Running != 10 || s.Entities == 0 {
				t.Errorf("%s: got %+v, want 10 shards and some entities", n.self.ID, s)
			}
		}
		if total != 100 {
			t.Errorf("got %d entities in memory, want 100", total)
		}
	})
}

func TestARefusalCrossesTheWireAsItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, add := counterType(2)
		w := newWorld(t, 2, nil, typ)
		w.spread("counter")
		for _, n := range w.nodes {
			_, err := add.Ask(within(t, time.Second), n, "x", -5)
			wantCode(t, err, sharding.Rejected)
			if !errors.Is(err, errShort) {
				t.Errorf("%s: got %v, want it to be errShort", n.self.ID, err)
			}
			if r, ok := sharding.AsRefusal(err); !ok || r.Code != "short" || r.Text != "short: 5 missing" {
				t.Errorf("%s: got refusal %+v, want the detail text", n.self.ID, r)
			}
			if sharding.MayHaveRun(err) {
				t.Errorf("%s: got a refusal that may have run, want one that changed nothing", n.self.ID)
			}
			var e *sharding.Error
			if !errors.As(err, &e) || e.Type != "counter" || e.ID != "x" {
				t.Errorf("%s: got %v, want the entity named", n.self.ID, err)
			}
		}
	})
}

func TestCallsThatCannotBeMadeSayWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, add := counterType(1)
		text := sharding.NewType[counter]("text")
		text.Shards = 1
		length := sharding.Handle(text, "length", func(_ *counter, s string) (int, error) { return len(s), nil })
		w := newWorld(t, 2, nil, typ, text)
		w.spread("counter")
		w.spread("text")
		other := sharding.NewType[counter]("other")
		missing := sharding.Handle(other, "add", (*counter).Add)
		foreign, _ := sharding.MakeMethod[int, int]("counter", "subtract", nil, nil)
		remote := w.nodes[1]
		ctx := within(t, time.Second)
		for name, c := range map[string]struct {
			call func() error
			want sharding.Code
		}{
			"unknown type":   {func() error { _, err := missing.Ask(ctx, remote, "x", 1); return err }, sharding.UnknownType},
			"unknown method": {func() error { _, err := foreign.Ask(ctx, remote, "x", 1); return err }, sharding.UnknownMethod},
			"zero method":    {func() error { var m sharding.Method[int, int]; return m.Tell(ctx, remote, "x", 1) }, sharding.UnknownMethod},
			"empty id":       {func() error { return add.Tell(ctx, remote, "", 1) }, sharding.Malformed},
			"long id":        {func() error { return add.Tell(ctx, remote, strings.Repeat("x", 513), 1) }, sharding.Malformed},
			"broken id":      {func() error { return add.Tell(ctx, remote, "\xff", 1) }, sharding.Malformed},
			"empty command":  {func() error { return add.Tell(sharding.CommandID(ctx, ""), remote, "x", 1) }, sharding.Malformed},
			"long command": {func() error {
				return add.Tell(sharding.CommandID(ctx, strings.Repeat("x", 257)), remote, "x", 1)
			}, sharding.Malformed},
			"large request": {func() error {
				_, err := length.Ask(ctx, remote, "x", strings.Repeat("x", sharding.MaxPayload))
				return err
			}, sharding.TooLarge},
		} {
			err := c.call()
			wantCode(t, err, c.want)
			if sharding.MayHaveRun(err) {
				t.Errorf("%s: got an error that may have run, want one that has not", name)
			}
		}
		if n, err := length.Ask(ctx, remote, "x", strings.Repeat("x", 100_000)); err != nil || n != 100_000 {
			t.Errorf("got %d, %v, want a large request to pass", n, err)
		}
	})
}

func TestAPanicFailsTheCallAndTheEntityStartsAfresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, add := counterType(1)
		boom := sharding.Handle(typ, "boom", func(s *counter, how string) (int, error) {
			s.N = 99
			if how == "panic" {
				panic("boom")
			}
			return 0, errors.New(how)
		})
		w := newWorld(t, 2, nil, typ)
		w.spread("counter")
		ctx := within(t, time.Minute)
		for _, n := range w.nodes {
			for _, how := range []string{"panic", "error"} {
				if got, err := add.Ask(ctx, n, "x", 5); err != nil || got != 5 {
					t.Fatalf("got %d, %v, want 5 of a fresh entity", got, err)
				}
				_, err := boom.Ask(ctx, n, "x", how)
				wantCode(t, err, sharding.Failed)
				if !sharding.MayHaveRun(err) {
					t.Errorf("got %v, want it to say that it may have run", err)
				}
			}
		}
	})
}

func TestAnAskWithoutDeadlineEndsAfterTheDefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, add := counterType(1)
		w := newWorld(t, 1, nil, typ)
		began := time.Now()
		_, err := add.Ask(context.Background(), w.nodes[0], "x", 1)
		wantCode(t, err, sharding.Unavailable)
		if got := time.Since(began); got != sharding.DefaultTimeout {
			t.Errorf("got %s, want %s", got, sharding.DefaultTimeout)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want it to be context.DeadlineExceeded", err)
		}
	})
}

func TestRegionsTalkOverARealTransport(t *testing.T) {
	typ, add := counterType(10)
	nodes := benchNodes(t, 2, typ)
	ctx := within(t, 30*time.Second)
	for i := range 200 {
		for turn, n := range nodes {
			got, err := add.Ask(ctx, n, fmt.Sprintf("entity-%d", i), 1)
			if err != nil || got != turn+1 {
				t.Fatalf("got %d, %v, want %d", got, err, turn+1)
			}
		}
	}
	_, err := add.Ask(ctx, nodes[0], "x", -1)
	if !errors.Is(err, errShort) {
		t.Errorf("got %v, want errShort", err)
	}
}
