package sharding

import (
	"fmt"

	"github.com/holdfast-go/holdfast/actor"
)

// This file is all that sharding knows about actors: an entity is one, and
// what is queued with it is a *call or a mark.

type entityRef = actor.Ref[*call]

// Receive implements actor.Behavior.
func (e *entity) Receive(_ *actor.Context[*call], c *call) error {
	e.receive(c)
	return nil
}

// spawn makes the entity's actor. The slot's lock is held.
func (h *host) spawn(id string) (*entity, error) {
	region := h.slot.region
	e := &entity{host: h, id: id}
	ref, err := actor.Spawn(region.set.cfg.Actors, actor.Props[*call]{
		New:         func() actor.Behavior[*call] { return e },
		Mailbox:     region.def.Mailbox + marks,
		Undelivered: region.set.undelivered,
	})
	if err != nil {
		return nil, fmt.Errorf("spawn entity: %w", err)
	}
	e.ref = ref
	h.entities[id] = e
	region.stats.entities.Add(1)
	return e, nil
}

func (e *entity) tell(c *call) error { return e.ref.Tell(c) }

// tellMark queues a mark. The slot's lock is held.
func (e *entity) tellMark(m mark) error {
	set := e.host.slot.region.set
	if m == markStop {
		return e.ref.Tell(set.markStop)
	}
	return e.ref.Tell(set.markPassivate)
}

// end stops the actor; nothing is queued any more, or nobody waits for it.
func (e *entity) end() { e.ref.Stop() }

// undelivered gets what was queued with an actor that ended unasked.
func (r *Regions) undelivered(c *call) {
	if c.mark == markNone {
		c.giveBack()
	}
}
