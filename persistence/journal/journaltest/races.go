package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// claimRace: after Claim returned, no append with an older token is accepted,
// and the new owner reads everything that was acknowledged.
func claimRace(t *testing.T, open Open) {
	a, b := handle(t, open), handle(t, open)
	// bound ends the old owner's loop when the store never fences it.
	const bound = 50_000
	for round := range 20 {
		id := fmt.Sprint("s", round)
		old := claim(t, a, shard(0), 1, uint64(2*round+1))
		started := make(chan struct{})
		var acked []string
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			start := sync.OnceFunc(func() { close(started) })
			defer start()
			for n := range uint64(bound) {
				text := fmt.Sprint("old ", n)
				_, err := one(t.Context(), a, add(old, id, n, text))
				var fenced *journal.FencedError
				switch {
				case errors.As(err, &fenced):
					return
				case err != nil:
					t.Errorf("old owner: %v", err)
					return
				}
				acked = append(acked, text)
				if n == 2 {
					start()
				}
			}
			t.Errorf("old owner: not fenced after %d appends", bound)
		})
		<-started
		cur := claim(t, b, shard(0), 1, uint64(2*round+2))
		seen := texts(t, b, id)
		mustAppend(t, b, add(cur, id, uint64(len(seen)), "new"))
		wg.Wait()
		if len(acked) != len(seen) {
			t.Fatalf("round %d: %d appends acknowledged, the new owner saw %d", round, len(acked), len(seen))
		}
		wantTexts(t, a, id, append(acked, "new")...)
	}
}

// appendRace: two activations that both think they know the end.
func appendRace(t *testing.T, open Open) {
	a, b := handle(t, open), handle(t, open)
	tok := claim(t, a, shard(0), 1, 1)
	const writers, places = 4, 25
	var mu sync.Mutex
	won := map[uint64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		j := a
		if w%2 == 1 {
			j = b
		}
		wg.Go(func() {
			for n := range uint64(places) {
				text := fmt.Sprint(w, "-", n)
				_, err := one(t.Context(), j, add(tok, "a", n, text))
				var conflict *journal.ConflictError
				switch {
				case err == nil:
					mu.Lock()
					if other, taken := won[n]; taken {
						t.Errorf("place %d given to %s and %s", n, other, text)
					}
					won[n] = text
					mu.Unlock()
				case !errors.As(err, &conflict):
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	got := texts(t, a, "a")
	if len(got) != len(won) || len(got) == 0 {
		t.Fatalf("got %d events, %d were acknowledged", len(got), len(won))
	}
	for n, text := range got {
		if won[uint64(n)] != text {
			t.Errorf("place %d: got %s, acknowledged %s", n, text, won[uint64(n)])
		}
	}
}

func arbiter(t *testing.T, open Open) {
	j := handle(t, open)
	row, err := j.ReadClaim(t.Context(), "bank")
	if err != nil || row.Version != 0 || row.Generation != 0 {
		t.Fatalf("got %+v %v, want a zero row", row, err)
	}
	row, swapped, err := j.SwapClaim(t.Context(), "bank", 3, journal.Claim{Generation: 1})
	if err != nil || swapped || row.Version != 0 {
		t.Fatalf("swap of a version that is not there: got %+v %v %v", row, swapped, err)
	}
	next := journal.Claim{Generation: 1, Owner: "node-1", Voters: []string{"node-1", "node-2"}}
	row, swapped, err = j.SwapClaim(t.Context(), "bank", 0, next)
	if err != nil || !swapped || row.Version == 0 {
		t.Fatalf("first swap: got %+v %v %v", row, swapped, err)
	}
	read, err := j.ReadClaim(t.Context(), "bank")
	if err != nil || read.Version != row.Version || read.Generation != 1 || read.Owner != "node-1" || fmt.Sprint(read.Voters) != "[node-1 node-2]" {
		t.Fatalf("got %+v %v, want %+v", read, err, row)
	}
	later, swapped, err := j.SwapClaim(t.Context(), "bank", row.Version, journal.Claim{Generation: 2, Owner: "node-2"})
	if err != nil || !swapped || later.Version <= row.Version || len(later.Voters) != 0 {
		t.Fatalf("second swap: got %+v %v %v", later, swapped, err)
	}
	for _, old := range []uint64{0, row.Version, later.Version + 1} {
		got, swapped, err := j.SwapClaim(t.Context(), "bank", old, next)
		if err != nil || swapped || got.Version != later.Version || got.Owner != "node-2" {
			t.Fatalf("swap of version %d: got %+v %v %v, want the present row", old, got, swapped, err)
		}
	}
	if other, err := j.ReadClaim(t.Context(), "other"); err != nil || other.Version != 0 {
		t.Fatalf("another cluster: got %+v %v, want a zero row", other, err)
	}
}

func arbiterRace(t *testing.T, open Open) {
	handles := []journal.Journal{handle(t, open), handle(t, open), handle(t, open)}
	for round := range uint64(10) {
		before, err := handles[0].ReadClaim(t.Context(), "bank")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var winners []string
		var wg sync.WaitGroup
		for n := range 9 {
			wg.Go(func() {
				me := fmt.Sprint("node-", n)
				row, swapped, err := handles[n%len(handles)].SwapClaim(t.Context(), "bank", before.Version,
					journal.Claim{Generation: round + 1, Owner: me})
				switch {
				case err != nil:
					t.Error(err)
				case swapped && row.Owner != me:
					t.Errorf("%s won and got the row of %s", me, row.Owner)
				case swapped:
					mu.Lock()
					winners = append(winners, me)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		row, err := handles[1].ReadClaim(t.Context(), "bank")
		if err != nil || len(winners) != 1 || row.Owner != winners[0] || row.Generation != round+1 {
			t.Fatalf("round %d: got row %+v %v, winners %v, want exactly one", round, row, err, winners)
		}
	}
}

func otherHandle(t *testing.T, open Open) {
	a, b := handle(t, open), handle(t, open)
	tok := claim(t, a, shard(0), 1, 1)
	for n := range uint64(20) {
		w, r := a, b
		if n%2 == 1 {
			w, r = b, a
		}
		x := add(tok, "a", n, fmt.Sprint(n))
		x.Command = command(fmt.Sprint("c", n), "r")
		mustAppend(t, w, x)
		if got := texts(t, r, "a"); uint64(len(got)) != n+1 {
			t.Fatalf("the other handle sees %d events, want %d", len(got), n+1)
		}
		if _, ok, err := r.Command(t.Context(), stream("a"), fmt.Sprint("c", n)); !ok || err != nil {
			t.Fatalf("the other handle sees command %d: %v %v", n, ok, err)
		}
	}
	cur := claim(t, b, shard(0), 1, 2)
	_, err := one(t.Context(), a, add(tok, "a", 20, "late"))
	wantFenced(t, err, cur)
}

func closed(t *testing.T, open Open) {
	j := open(t)
	tok := claim(t, j, shard(0), 1, 1)
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	ctx := t.Context()
	_, appendErr := one(ctx, j, add(tok, "a", 0, "no"))
	_, claimErr := j.Claim(ctx, shard(0), 1, 2, "n")
	_, readErr := j.Read(ctx, stream("a"), 0, 0)
	_, _, snapErr := j.Snapshot(ctx, stream("a"))
	_, _, cmdErr := j.Command(ctx, stream("a"), "c")
	_, rowErr := j.ReadClaim(ctx, "c")
	_, _, swapErr := j.SwapClaim(ctx, "c", 0, journal.Claim{})
	for what, err := range map[string]error{
		"Append": appendErr, "Claim": claimErr, "Read": readErr, "Snapshot": snapErr,
		"Command": cmdErr, "ReadClaim": rowErr, "SwapClaim": swapErr,
	} {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", what, err)
		}
	}
}

// closeRace: appends that come while the store closes are either written and
// acknowledged, or refused with ErrClosed. A second handle keeps the data
// readable; a store whose handles are one and the same has nothing to read.
func closeRace(t *testing.T, open Open) {
	j, watch := open(t), handle(t, open)
	tok := claim(t, j, shard(0), 1, 1)
	const writers = 8
	acked := make([]int, writers)
	ready := make(chan struct{}, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for {
				_, err := one(t.Context(), j, add(tok, fmt.Sprint("s", w), uint64(acked[w]), "x"))
				if err != nil {
					if !errors.Is(err, journal.ErrClosed) {
						t.Errorf("got %v, want ErrClosed", err)
					}
					return
				}
				if acked[w]++; acked[w] == 3 {
					ready <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-ready
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if watch == j {
		return
	}
	for w, n := range acked {
		if got := len(texts(t, watch, fmt.Sprint("s", w))); got != n {
			t.Errorf("stream %d: got %d events, %d were acknowledged", w, got, n)
		}
	}
}
