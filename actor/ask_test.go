package actor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type question struct {
	n     int
	reply func(int, error)
}

func ask1(ctx context.Context, r Ref[question], n int) (int, error) {
	return Ask(ctx, r, func(reply func(int, error)) question { return question{n, reply} })
}

func TestAskReturnsTheReplyOfItsOwnMessage(t *testing.T) {
	s := newSystem(t, Config{})
	refused := errors.New("refused")
	r := mustSpawn(t, s, props(fake[question]{receive: func(_ *Context[question], q question) error {
		if q.n < 0 {
			q.reply(0, refused)
			return nil
		}
		q.reply(q.n*2, nil)
		q.reply(-1, nil) // ignored
		return nil
	}}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 500 {
				if got, err := ask1(t.Context(), r, i*1000+n); err != nil || got != 2*(i*1000+n) {
					t.Errorf("got %d, %v, want %d", got, err, 2*(i*1000+n))
				}
			}
		})
	}
	wg.Wait()
	if _, err := ask1(t.Context(), r, -1); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ask1(ended, r, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	r.Stop()
	if _, err := ask1(t.Context(), r, 1); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
	if _, err := ask1(t.Context(), Ref[question]{}, 1); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
}

func TestLateRepliesNeverReachAnotherAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, Config{})
		var late []func(int, error)
		r := mustSpawn(t, s, props(fake[question]{receive: func(_ *Context[question], q question) error {
			if q.n == 0 {
				late = append(late, q.reply)
				return nil
			}
			for _, reply := range late {
				reply(-1, nil)
			}
			q.reply(q.n, nil)
			for _, reply := range late {
				reply(-1, nil)
			}
			return nil
		}}))
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := ask1(ctx, r, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			cancel()
		}
		for n := 1; n < 100; n++ {
			if got, err := ask1(t.Context(), r, n); err != nil || got != n {
				t.Fatalf("got %d, %v, want %d", got, err, n)
			}
		}
	})
}

func TestRepliesAndDeadlinesMayRace(t *testing.T) {
	s := newSystem(t, Config{})
	r := mustSpawn(t, s, props(fake[question]{receive: func(_ *Context[question], q question) error { q.reply(q.n, nil); return nil }}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				wg.Go(cancel)
				if got, err := ask1(ctx, r, n); err == nil && got != n {
					t.Errorf("got %d, want %d", got, n)
				}
			}
		})
	}
	wg.Wait()
	if c := r.c; c.rare != nil && c.rare.asks != nil {
		t.Error("got asks left in the list, want none")
	}
}

func TestAskersLearnAtOnceThatNoReplyWillCome(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		name string
		n    int // what is asked: 0 fails, 1 is kept unanswered
		then func(Ref[question])
		want []error
	}{
		{"the behavior fails", 0, nil, []error{ErrNoReply, boom}},
		{"the behavior keeps it and the actor stops", 1, Ref[question].Stop, []error{ErrNoReply}},
		{"the behavior keeps it and then fails", 1, func(r Ref[question]) { _ = r.Tell(question{}) }, []error{ErrNoReply}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, Config{})
				p := props(fake[question]{receive: func(_ *Context[question], q question) error {
					if q.n == 0 {
						return boom
					}
					return nil
				}})
				p.MaxRestarts = 5
				r := mustSpawn(t, s, p)
				var err error
				var wg sync.WaitGroup
				wg.Go(func() { _, err = ask1(t.Context(), r, tc.n) })
				synctest.Wait()
				if tc.then != nil {
					tc.then(r)
				}
				wg.Wait()
				for _, want := range tc.want {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				}
			})
		})
	}
}

func TestAskersOfQueuedMessagesLearnThatTheyDidNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, Config{})
		gate := make(chan struct{})
		r := mustSpawn(t, s, props(fake[question]{receive: func(*Context[question], question) error { <-gate; return nil }}))
		mustTell(t, r, question{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := ask1(t.Context(), r, 1); !errors.Is(err, ErrStopped) || errors.Is(err, ErrNoReply) {
					t.Errorf("got %v, want %v", err, ErrStopped)
				}
			})
		}
		synctest.Wait()
		r.Stop()
		close(gate)
		wg.Wait()
	})
}

func TestAReplyInsideBuildOfARefusedAskDoesNoHarm(t *testing.T) {
	s := newSystem(t, Config{})
	r := mustSpawn(t, s, props(fake[question]{receive: func(_ *Context[question], q question) error { q.reply(q.n, nil); return nil }}))
	gone := mustSpawn(t, s, props(fake[question]{}))
	gone.Stop()
	for n := range 50 {
		_, err := Ask(t.Context(), gone, func(reply func(int, error)) question { reply(1, nil); return question{} })
		if !errors.Is(err, ErrStopped) {
			t.Errorf("got %v, want %v", err, ErrStopped)
		}
		if got, err := ask1(t.Context(), r, n); err != nil || got != n {
			t.Errorf("got %d, %v, want %d", got, err, n)
		}
	}
}
