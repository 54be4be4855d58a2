package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/sharding"
)

const (
	// flight is how many asks are on their way at once, size the content of one
	// in bytes.
	flight = 256
	size   = 100
	// distinct is how many entities the asks go to.
	distinct = 1_000
)

// note travels as JSON.
type note struct{ Content string }

// counter is the state of an echoing entity.
type counter struct{ calls int }

// bytesCodec carries []byte as it is.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot encode a %T, only []byte", v)
	}
	return b, nil
}

func (bytesCodec) Unmarshal(b []byte, into any) error {
	p, ok := into.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot decode into a %T, only *[]byte", into)
	}
	*p = append([]byte(nil), b...)
	return nil
}

// echo is an entity type whose entities answer with what they are asked.
type echo[T any] struct {
	typ    *sharding.Type[counter]
	echo   sharding.Method[T, T]
	where  sharding.Method[T, T] // answers with the process the entity is in
	wrap   func(string) T
	text   func(T) string
	length func(T) int // of the text, without making it
}

func newEcho[T any](name string, codec sharding.Codec, wrap func(string) T, text func(T) string, length func(T) int) *echo[T] {
	e := &echo[T]{typ: sharding.NewType[counter](name), wrap: wrap, text: text, length: length}
	e.typ.Codec, e.typ.PassivateAfter = codec, -1
	e.echo = sharding.Handle(e.typ, "echo", func(s *counter, q T) (T, error) {
		s.calls++
		return q, nil
	})
	e.where = sharding.Handle(e.typ, "where", func(_ *counter, _ T) (T, error) { return wrap(strconv.Itoa(os.Getpid())), nil })
	return e
}

// echoes are the echoing types, by how their messages travel.
type echoes struct {
	json  *echo[note]
	proto *echo[*wrapperspb.BytesValue]
	bytes *echo[[]byte]
}

func newEchoes() echoes {
	return echoes{
		json: newEcho("echo-json", nil, func(s string) note { return note{s} }, func(n note) string { return n.Content },
			func(n note) int { return len(n.Content) }),
		proto: newEcho("echo-proto", nil, func(s string) *wrapperspb.BytesValue { return wrapperspb.Bytes([]byte(s)) },
			func(v *wrapperspb.BytesValue) string { return string(v.GetValue()) }, func(v *wrapperspb.BytesValue) int { return len(v.GetValue()) }),
		bytes: newEcho("echo-bytes", bytesCodec{}, func(s string) []byte { return []byte(s) }, func(b []byte) string { return string(b) },
			func(b []byte) int { return len(b) }),
	}
}

func (e echoes) entities() []sharding.Entity {
	return []sharding.Entity{e.json.typ, e.proto.typ, e.bytes.typ}
}

// elsewhere returns ids of entities that are in another process, each of them
// in memory.
func (e *echo[T]) elsewhere(ctx context.Context, tb testing.TB, n *holdfast.Node, want int) []string {
	tb.Helper()
	here := strconv.Itoa(os.Getpid())
	var ids []string
	for i := 0; len(ids) < want; i++ {
		if i > 100*want {
			tb.Fatalf("%s: of %d entities only %d are in the other process", e.typ.Definition().Name, i, len(ids))
		}
		id := fmt.Sprintf("tenant-a/%d", i)
		pid, err := e.where.Ask(ctx, n, id, e.wrap(""))
		if err != nil {
			tb.Fatal(err)
		}
		if e.text(pid) != here {
			ids = append(ids, id)
		}
	}
	return ids
}

// side asks the entities through the public API, each caller by itself and with
// a ctx of its own, as requests to a server have.
func (e *echo[T]) side(ctx context.Context, tb testing.TB, n *holdfast.Node, name string, callers int, ids []string) side {
	tb.Helper()
	content := e.wrap(strings.Repeat("x", size))
	own := make([]context.Context, callers)
	for i := range own {
		var cancel context.CancelFunc
		own[i], cancel = context.WithCancel(ctx) //nolint:fatcontext // siblings, not a chain
		tb.Cleanup(cancel)
	}
	return side{name, func(d time.Duration) float64 { //nolint:contextcheck // each caller has a ctx of its own
		return inFlight(tb, callers, d, func(caller, i int) error {
			got, err := e.echo.Ask(own[caller], n, ids[(caller+i*callers)%len(ids)], content)
			if err == nil && e.length(got) != size {
				err = fmt.Errorf("got a reply of %d bytes, want %d", e.length(got), size)
			}
			return err
		})
	}}
}

// stay fails when the entities did not stay in the other process.
func (e *echo[T]) stay(ctx context.Context, tb testing.TB, n *holdfast.Node, ids []string) {
	tb.Helper()
	for _, id := range ids[:min(100, len(ids))] {
		if pid, err := e.where.Ask(ctx, n, id, e.wrap("")); err != nil || e.text(pid) == strconv.Itoa(os.Getpid()) {
			tb.Fatalf("%s %s moved to this process while it was measured: %v", e.typ.Definition().Name, id, err)
		}
	}
}

// remoteAsk measures asks of entities in another process.
func remoteAsk(tb testing.TB, p pace, entities int) outcome {
	tb.Helper()
	ports, targets := freePorts(tb, 2)
	other := spawn(tb, child{Targets: targets, Port: ports[1]})
	e := newEchoes()
	n, err := startNode(within(tb, time.Minute), targets, ports[0], nil, e.entities()...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Shutdown(context.Background()); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
	})
	peer := other()
	p.cpu = processors(os.Getpid(), peer.cmd.Process.Pid)
	bare := dialBare(tb, peer.Bare, []byte(strings.Repeat("x", size)))
	ctx := within(tb, 10*time.Minute)
	inProto, inBytes, inJSON := e.proto.elsewhere(ctx, tb, n, entities), e.bytes.elsewhere(ctx, tb, n, entities), e.json.elsewhere(ctx, tb, n, entities)
	o := compare(tb, p,
		side{"bare stream, nobody waits", bare.window},
		side{"bare stream, callers wait", bare.plain},
		side{"the same, gathering", bare.gathered},
		e.bytes.side(ctx, tb, n, "ask, bytes", flight, inBytes),
		e.proto.side(ctx, tb, n, "ask, protobuf", flight, inProto),
		e.json.side(ctx, tb, n, "ask, JSON", flight, inJSON),
	)
	e.proto.stay(ctx, tb, n, inProto)
	e.bytes.stay(ctx, tb, n, inBytes)
	e.json.stay(ctx, tb, n, inJSON)
	return o
}

// BenchmarkRemoteAsk: at least half of what the bare stream does for callers
// that wait is the target. The bare stream is measured in two better forms, too:
// with the lanes' way of gathering messages into packets, and with nobody waiting
// for a message of its own.
func BenchmarkRemoteAsk(b *testing.B) {
	for b.Loop() {
		o := remoteAsk(b, fullPace(), distinct)
		const window, callers, gathered = 0, 1, 2
		for i, name := range []string{"bytes", "proto", "json"} {
			k := i + 3
			b.ReportMetric(o.ratio[k]/o.ratio[callers], name+"-ratio")
			b.ReportMetric(o.ratio[k]/o.ratio[gathered], name+"-ratio-gathered")
			b.ReportMetric(o.ratio[k], name+"-ratio-window")
			if o.cost[k] > 0 {
				b.ReportMetric(o.cost[callers]/o.cost[k], name+"-cpu-ratio")
				b.ReportMetric(o.cost[gathered]/o.cost[k], name+"-cpu-ratio-gathered")
				b.ReportMetric(o.cost[window]/o.cost[k], name+"-cpu-ratio-window")
				b.ReportMetric(o.cost[k], name+"-cpu-us/ask")
			}
		}
		b.ReportMetric(o.rate[window], "bare/s")
		b.ReportMetric(o.rate[callers], "bare-callers/s")
		b.ReportMetric(o.rate[gathered], "bare-gathered/s")
	}
	quiet(b)
}
