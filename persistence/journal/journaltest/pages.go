package journaltest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

func pages(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	const total = journal.MaxPage + 5
	for n := 0; n < total; {
		var events []string
		for len(events) < 500 && n+len(events) < total {
			events = append(events, fmt.Sprint(n+len(events)))
		}
		mustAppend(t, j, add(tok, "a", uint64(n), events...))
		n += len(events)
	}
	mustAppend(t, j, add(tok, "b", 0, "x"))
	for _, c := range []struct {
		after uint64
		limit int
		want  int
		more  bool
	}{
		{0, 10, 10, true},
		{10, 10, 10, true},
		{total - 10, 10, 10, false},
		{total - 11, 10, 10, true},
		{total - 1, 10, 1, false},
		{total, 10, 0, false},
		{total + 100, 10, 0, false},
		{0, 0, journal.MaxPage, true},
		{0, total * 2, journal.MaxPage, true},
		{journal.MaxPage, 0, 5, false},
	} {
		page, err := j.Read(t.Context(), stream("a"), c.after, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) != c.want || page.More != c.more {
			t.Errorf("Read(after %d, limit %d): got %d events and More %v, want %d and %v",
				c.after, c.limit, len(page.Events), page.More, c.want, c.more)
		}
		for i, e := range page.Events {
			if want := c.after + uint64(i) + 1; e.Seq != want {
				t.Fatalf("Read(after %d): got seq %d, want %d", c.after, e.Seq, want)
			}
		}
	}
	if got := texts(t, j, "a"); len(got) != total {
		t.Fatalf("got %d events, want %d", len(got), total)
	}
}

func largePage(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	payload := make([]byte, journal.MaxEvent)
	const total = 8
	for i := range total {
		a := add(tok, "a", uint64(i))
		a.Events = []journal.Event{{Type: "e", Payload: payload}}
		mustAppend(t, j, a)
	}
	page, err := j.Read(t.Context(), stream("a"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(page.Events); n < 4 || n > 5 || !page.More {
		t.Fatalf("got a page of %d MiB and More %v, want 4 or 5 and true", n, page.More)
	}
	if got := texts(t, j, "a"); len(got) != total {
		t.Fatalf("got %d events, want %d", len(got), total)
	}
}

func eventBound(t *testing.T, open Open) {
	j := handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	a := add(tok, "a", 0)
	a.Events = []journal.Event{{Type: "e", Payload: make([]byte, journal.MaxEvent)}}
	mustAppend(t, j, a)
	a.Expected = 1
	a.Events = []journal.Event{{Type: "e", Payload: make([]byte, journal.MaxEvent+1)}}
	_, err := one(t.Context(), j, a)
	var large *journal.TooLargeError
	if !errors.As(err, &large) || large.Size != journal.MaxEvent+1 || large.Limit != journal.MaxEvent {
		t.Fatalf("got %v, want a TooLargeError with its sizes", err)
	}
	if got := texts(t, j, "a"); len(got) != 1 || len(got[0]) != journal.MaxEvent {
		t.Fatalf("got %d events, want the one at the bound", len(got))
	}
}
