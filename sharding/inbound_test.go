package sharding_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/sharding"
)

// send posts raw bytes to a node's regions and returns the decoded reply.
func send(t *testing.T, from, to *testNode, payload []byte) wire.ShardReply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := from.transport.Ask(ctx, to.self, "sharding", payload)
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.DecodeShardReply(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOnlyCallsForExactlyThisAssignmentRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJournal()
		typ, _ := logType(j, nil)
		w := newWorld(t, 2, nil, typ)
		a, b := w.nodes[0], w.nodes[1]
		w.assign(shard0, b)
		w.expire(b)
		w.assign(shard0, a)
		synctest.Wait()
		row := w.row(shard0)
		call := func(generation, epoch uint64) wire.ShardReply {
			h := wire.CallHeader{Type: "log", Generation: generation, Epoch: epoch, Entity: "e", Method: "put"}
			return send(t, b, a, wire.AppendCall(nil, &h, []byte(`{}`)))
		}
		for _, c := range []struct {
			name              string
			generation, epoch uint64
			want              wire.ReplyStatus
			atLeast           time.Duration
		}{
			{"older epoch", 1, row.Epoch - 1, wire.ReplyRefused, 0},
			{"older generation", 0, row.Epoch + 5, wire.ReplyRefused, 0},
			{"exact", 1, row.Epoch, wire.ReplyOK, 0},
			{"newer epoch", 1, row.Epoch + 1, wire.ReplyRefused, 2 * time.Second},
			{"newer generation", 2, 1, wire.ReplyRefused, 2 * time.Second},
		} {
			name := c.name
			began := time.Now()
			r := call(c.generation, c.epoch)
			if r.Status != c.want || time.Since(began) < c.atLeast {
				t.Errorf("%s: got %+v after %s, want status %d after %s", name, r, time.Since(began), c.want, c.atLeast)
			}
			if r.Status == wire.ReplyRefused && (r.Generation != 1 || r.Index != w.index) {
				t.Errorf("%s: got generation %d index %d, want the owner's 1 and %d", name, r.Generation, r.Index, w.index)
			}
		}
		if n := len(j.get("e/")); n != 1 {
			t.Errorf("got %d calls run, want 1", n)
		}
	})
}

func TestACallThatWasRefusedIsNotOvertakenByOneSentBehindIt(t *testing.T) {
	for name, lose := range map[string]func(w *world, n *testNode, call func() wire.ReplyStatus){
		"before it was queued": func(_ *world, n *testNode, call func() wire.ReplyStatus) {
			n.session.Store(false)
			if got := call(); got != wire.ReplyRefused {
				t.Errorf("got status %d without a session, want it refused", got)
			}
			n.session.Store(true)
		},
		"while it was queued": func(_ *world, n *testNode, call func() wire.ReplyStatus) {
			n.blink.Store(2) // the check before it is queued passes, the one before it runs fails
			if got := call(); got != wire.ReplyRefused {
				t.Errorf("got status %d, want the queued call given back", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				typ, _ := logType(newJournal(), nil)
				w := newWorld(t, 2, nil, typ)
				a, b := w.nodes[0], w.nodes[1]
				w.assign(shard0, a)
				synctest.Wait()
				epoch := w.row(shard0).Epoch
				call := func() wire.ReplyStatus {
					h := wire.CallHeader{Type: "log", Generation: 1, Epoch: epoch, Entity: "e", Method: "put"}
					return send(t, b, a, wire.AppendCall(nil, &h, []byte(`{}`))).Status
				}
				lose(w, a, call)
				for range 3 {
					if got := call(); got != wire.ReplyRefused {
						t.Errorf("got status %d, want calls refused until the sender has heard of it", got)
					}
				}
				if got := send(t, b, a, wire.AppendShardRequest(nil, wire.RequestProbe, "log", 0, 1, epoch)).Status; got != wire.ReplyOK {
					t.Errorf("got status %d for a probe, want yes", got)
				}
				if got := call(); got != wire.ReplyOK {
					t.Errorf("got status %d after the probe, want the call run", got)
				}
			})
		})
	}
}

func TestRequestsThatMakeNoSenseAreAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		typ, _ := counterType(3)
		w := newWorld(t, 2, nil, typ)
		w.spread("counter")
		synctest.Wait()
		a, b := w.nodes[0], w.nodes[1]
		epoch := w.table.Shards("counter")[0].Epoch
		header := func(change func(*wire.CallHeader)) []byte {
			h := wire.CallHeader{Type: "counter", Generation: 1, Epoch: epoch, Entity: "x", Method: "add"}
			change(&h)
			return wire.AppendCall(nil, &h, []byte("1"))
		}
		for name, c := range map[string]struct {
			payload []byte
			want    sharding.Code
		}{
			"bytes":       {[]byte{0xff, 1, 2}, sharding.Malformed},
			"type":        {header(func(h *wire.CallHeader) { h.Type = "other" }), sharding.UnknownType},
			"method":      {header(func(h *wire.CallHeader) { h.Method = "other" }), sharding.UnknownMethod},
			"shard":       {header(func(h *wire.CallHeader) { h.Shard = 3 }), sharding.Malformed},
			"wrong shard": {header(func(h *wire.CallHeader) { h.Shard = 0; h.Entity = otherShard(0) }), sharding.Malformed},
			"request": {
				wire.AppendCall(nil, &wire.CallHeader{Type: "counter", Generation: 1, Epoch: epoch, Entity: "x", Method: "add"}, []byte("{")),
				sharding.Malformed,
			},
		} {
			if r := send(t, b, a, c.payload); r.Status != wire.ReplyError || sharding.Code(r.Code) != c.want || r.Text == "" {
				t.Errorf("%s: got %+v, want an error %s with a text", name, r, c.want)
			}
		}
	})
}

// otherShard returns an id that does not belong to shard 0 of 3.
func otherShard(shard int) string {
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		if sharding.ShardOf(id, 3) != shard {
			return id
		}
	}
	return ""
}
