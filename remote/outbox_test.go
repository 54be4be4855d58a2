package remote_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/remote"
)

// ending counts how asks ended.
type ending struct {
	count int
	err   error
}

func (e *ending) done(_ []byte, err error) {
	e.count++
	e.err = err
}

func newOutbox(b remote.Bounds) *remote.Outbox { return remote.NewOutbox(b, remote.NewDeadlines()) }

func mustPost(t *testing.T, o *remote.Outbox, p remote.Post) uint64 {
	t.Helper()
	ask, err := o.Post(p)
	if err != nil {
		t.Fatalf("Post: got %v, want nil", err)
	}
	return ask
}

func wantEnding(t *testing.T, e *ending, want remote.Code) {
	t.Helper()
	var err *remote.Error
	if e.count != 1 || !errors.As(e.err, &err) || err.Code != want {
		t.Errorf("got %d calls of Done, the last with %v, want 1 with code %q", e.count, e.err, want)
	}
}

func TestABatchEndsAtItsBoundAndALargerMessageGoesAlone(t *testing.T) {
	o := newOutbox(remote.Bounds{})
	for _, size := range []int{100, 100, 5000, 100, 700, 100} {
		mustPost(t, o, remote.Post{Service: "s", Payload: make([]byte, size)})
	}
	var got []string
	for {
		batch := o.Take(nil, 1000, time.Now())
		if len(batch) == 0 {
			break
		}
		sizes := ""
		for _, m := range batch {
			sizes += fmt.Sprintf("%d ", len(m.Payload))
		}
		got = append(got, sizes)
	}
	if want := []string{"100 100 ", "5000 ", "100 700 ", "100 "}; !slices.Equal(got, want) {
		t.Errorf("got batches %q, want %q", got, want)
	}
}

func TestAnAskEndsOnceWhateverComesSecond(t *testing.T) {
	past, later := time.Now().Add(-time.Second), time.Now().Add(time.Minute)
	cause := errors.New("enough")
	for name, c := range map[string]struct {
		deadline time.Time
		end      func(o *remote.Outbox, ask uint64)
		want     remote.Code
	}{
		"it expires in the queue":       {past, func(o *remote.Outbox, _ uint64) { o.Expire(time.Now().Add(time.Second)) }, remote.CodeNotSent},
		"it expires at Take":            {past, func(o *remote.Outbox, _ uint64) { o.Take(nil, 100, time.Now()); o.Expire(time.Now().Add(time.Second)) }, remote.CodeNotSent},
		"it expires after sending":      {later, func(o *remote.Outbox, _ uint64) { o.Take(nil, 100, time.Now()); o.Expire(later.Add(time.Second)) }, remote.CodeTimeout},
		"it is cancelled in the queue":  {later, func(o *remote.Outbox, ask uint64) { o.Cancel(ask, cause) }, remote.CodeNotSent},
		"it is cancelled after sending": {later, func(o *remote.Outbox, ask uint64) { o.Take(nil, 100, time.Now()); o.Cancel(ask, cause) }, remote.CodeTimeout},
		"its connection breaks":         {later, func(o *remote.Outbox, _ uint64) { o.Take(nil, 100, time.Now()); o.LoseSent("broke") }, remote.CodeLaneLost},
		"the lane closes unsent":        {later, func(o *remote.Outbox, _ uint64) { o.Close("over") }, remote.CodeNotSent},
		"the lane closes when sent":     {later, func(o *remote.Outbox, _ uint64) { o.Take(nil, 100, time.Now()); o.Close("over") }, remote.CodeLaneLost},
		"a reply comes": {later, func(o *remote.Outbox, ask uint64) {
			o.Take(nil, 100, time.Now())
			o.Complete([]remote.AskReply{{Ask: ask, Err: &remote.Error{Code: "reply"}}})
		}, "reply"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutbox(remote.Bounds{})
			e := new(ending)
			ask := mustPost(t, o, remote.Post{Service: "s", Deadline: c.deadline, Done: e.done})
			c.end(o, ask)
			wantEnding(t, e, c.want)
			o.Complete([]remote.AskReply{{Ask: ask}})
			o.Cancel(ask, cause)
			o.LoseSent("again")
			o.Expire(later.Add(time.Hour))
			o.Close("again")
			wantEnding(t, e, c.want)
		})
	}
}

func TestAReplyToAnEarlierAskDoesNotEndALaterOneInItsSlot(t *testing.T) {
	o := newOutbox(remote.Bounds{})
	first, second := new(ending), new(ending)
	deadline := time.Now().Add(time.Minute)
	ask := mustPost(t, o, remote.Post{Deadline: deadline, Done: first.done})
	o.Take(nil, 100, time.Now())
	o.Cancel(ask, errors.New("enough"))
	again := mustPost(t, o, remote.Post{Deadline: deadline, Done: second.done})
	o.Take(nil, 100, time.Now())
	if again == ask {
		t.Fatalf("got number %d twice, want another one", ask)
	}
	o.Complete([]remote.AskReply{{Ask: ask}, {Ask: 0}, {Ask: 1 << 40}, {Ask: ^uint64(0)}})
	if second.count != 0 {
		t.Errorf("got %d calls of Done after foreign replies, want 0", second.count)
	}
	o.Complete([]remote.AskReply{{Ask: again}})
	if second.count != 1 || second.err != nil {
		t.Errorf("got %d calls of Done, %v, want 1 without error", second.count, second.err)
	}
}

func TestAsksThatExpireInTheQueueGiveTheirRoomBack(t *testing.T) {
	o := newOutbox(remote.Bounds{QueueLen: 10})
	now := time.Now()
	ended := 0
	for range 1000 {
		for range 10 {
			mustPost(t, o, remote.Post{Payload: make([]byte, 10), Deadline: now.Add(time.Millisecond), Done: func([]byte, error) { ended++ }})
		}
		if _, err := o.Post(remote.Post{}); !errors.Is(err, remote.ErrQueueFull) {
			t.Fatalf("Post over the bound: got %v, want ErrQueueFull", err)
		}
		now = now.Add(time.Second)
		o.Expire(now)
	}
	if ended != 10000 {
		t.Errorf("got %d asks ended, want 10000", ended)
	}
	mustPost(t, o, remote.Post{Service: "last"})
	if batch := o.Take(nil, 100, now); len(batch) != 1 || batch[0].Service != "last" {
		t.Errorf("got %v, want the one live message", batch)
	}
}

func TestEveryBoundOfAnOutboxHolds(t *testing.T) {
	for name, c := range map[string]struct {
		bounds remote.Bounds
		post   remote.Post
		fits   int
	}{
		"messages": {remote.Bounds{QueueLen: 3}, remote.Post{}, 3},
		"bytes":    {remote.Bounds{QueueBytes: 25}, remote.Post{Payload: make([]byte, 10)}, 3},
		"asks":     {remote.Bounds{MaxAsks: 3}, remote.Post{Deadline: time.Now().Add(time.Minute), Done: func([]byte, error) {}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutbox(c.bounds)
			for range c.fits {
				mustPost(t, o, c.post)
			}
			if _, err := o.Post(c.post); !errors.Is(err, remote.ErrQueueFull) {
				t.Errorf("one more: got %v, want ErrQueueFull", err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := o.WaitRoom(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("WaitRoom: got %v, want context.Canceled", err)
			}
			o.Close("over")
			if err := o.WaitRoom(context.Background()); !errors.Is(err, remote.ErrClosed) {
				t.Errorf("WaitRoom after Close: got %v, want ErrClosed", err)
			}
		})
	}
}

func TestAnAskExpiresWithinATickOfItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := remote.NewDeadlines()
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() { d.Run(ctx); close(ran) }()
		o := remote.NewOutbox(remote.Bounds{}, d)
		synctest.Wait() // at rest
		for _, wait := range []time.Duration{0, time.Millisecond, 9 * time.Millisecond, 10 * time.Millisecond, 11 * time.Millisecond, 777 * time.Millisecond, 5120 * time.Millisecond, 5121 * time.Millisecond, time.Minute} {
			start := time.Now()
			took := make(chan time.Duration, 1)
			mustPost(t, o, remote.Post{Deadline: start.Add(wait), Done: func([]byte, error) { took <- time.Since(start) }})
			if got := <-took; got < wait || got > wait+2*remote.Tick {
				t.Errorf("an ask with %s: got its end after %s, want within two ticks", wait, got)
			}
		}
		cancel()
		<-ran
	})
}
