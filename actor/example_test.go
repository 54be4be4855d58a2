package actor_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/actor"
)

// add is a message that is answered with the new total.
type add struct {
	n     int
	reply func(int, error)
}

type total struct{ sum int }

func (t *total) Receive(_ *actor.Context[add], m add) error {
	t.sum += m.n
	if m.reply != nil {
		m.reply(t.sum, nil)
	}
	return nil
}

func Example() {
	ctx := context.Background()
	system, err := actor.NewSystem(actor.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref, err := actor.Spawn(system, actor.Props[add]{New: func() actor.Behavior[add] { return &total{} }})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ref.Tell(add{n: 40}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(actor.Ask(ctx, ref, func(reply func(int, error)) add { return add{2, reply} }))
	fmt.Println(system.Shutdown(ctx), ref.Tell(add{n: 1}))
	// Output:
	// 42 <nil>
	// <nil> actor: stopped; the message was not handled
}
