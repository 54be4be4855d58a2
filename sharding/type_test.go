package sharding_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/sharding"
)

type counter struct{ N int }

var errShort = sharding.Reject("short")

func (c *counter) Add(n int) (int, error) {
	if c.N+n < 0 {
		return 0, fmt.Errorf("%w: %d missing", errShort, -c.N-n)
	}
	c.N += n
	return c.N, nil
}

func TestRefusalsAreEqualByCode(t *testing.T) {
	err := fmt.Errorf("%w: 3 missing", errShort)
	crossed := &sharding.Error{Code: sharding.Rejected, Err: &sharding.Refusal{Code: "short", Text: err.Error()}}
	if !errors.Is(crossed, errShort) {
		t.Error("got no match with the sentinel of the same code, want one")
	}
	if errors.Is(crossed, sharding.Reject("other")) {
		t.Error("got a match with the sentinel of another code, want none")
	}
	r, ok := sharding.AsRefusal(crossed)
	if want := (sharding.Refusal{Code: "short", Text: "short: 3 missing"}); !ok || r != want {
		t.Errorf("got refusal %+v, want %+v", r, want)
	}
}

func TestPlainEntityRunsACommandIDOnceAndRefusesItsReuse(t *testing.T) {
	typ := sharding.NewType[counter]("counter")
	sharding.Handle(typ, "add", (*counter).Add)
	def := typ.Definition().WithDefaults()
	if err := def.Validate(); err != nil {
		t.Fatal(err)
	}
	b := def.New()
	ctx := context.Background()
	if err := b.Start(ctx, &sharding.Activation{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	add := def.Methods["add"]
	call := func(id string, n int) (any, error) {
		raw, err := add.EncodeRequest(n)
		if err != nil {
			t.Fatal(err)
		}
		return b.Handle(ctx, &sharding.Call{Method: add, Request: n, Raw: raw, CommandID: id})
	}
	for range 3 {
		if got, err := call("k", 5); err != nil || got != 5 {
			t.Fatalf("got %v, %v, want 5", got, err)
		}
	}
	if _, err := call("k", 6); sharding.CodeOf(err) != sharding.CommandReused {
		t.Errorf("got %v, want %s", err, sharding.CommandReused)
	}
	for i := range 128 {
		if _, err := call(fmt.Sprint(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := call("k", 5); err != nil || got != 10 {
		t.Errorf("got %v, %v after 128 other ids, want the id forgotten and 10", got, err)
	}
}

func TestDefinitionReportsEveryProblemAtOnce(t *testing.T) {
	typ := sharding.NewType[counter](strings.Repeat("x", 129))
	typ.Shards = 1 << 17
	typ.Mailbox = -1
	sharding.Handle(typ, "add", (*counter).Add)
	sharding.Handle(typ, "add", (*counter).Add)
	sharding.Handle[counter, int, int](typ, "nil", nil)
	def := typ.Definition().WithDefaults()
	err := def.Validate()
	for _, want := range []string{"type name", "Shards", "Mailbox", "twice", "no function"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to mention %q", err, want)
		}
	}
}

func TestShardOfIsFNV1aUnsignedModulo(t *testing.T) {
	for id, hash := range map[string]uint64{
		"":       0xcbf29ce484222325,
		"a":      0xaf63dc4c8601ec8c,
		"foobar": 0x85944171f73967e8,
	} {
		if got, want := sharding.ShardOf(id, 1000), int(hash%1000); got != want {
			t.Errorf("ShardOf(%q, 1000): got %d, want %d", id, got, want)
		}
	}
}
