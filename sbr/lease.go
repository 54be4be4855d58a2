package sbr

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// lease is the resolver's dealing with the lease of [LeaseMajority].
//
//	        decision                  AcquireLease              granted
//	idle ──────────────> delayed ──────────────────> asked ─────────────> held
//	  ▲                   (minority)                    │                   │
//	  │                                  denied or late │                   │ downed members
//	  ├─────────────────────────────────────────────────┘                   │ removed, then
//	  └──────────────────────────── ReleaseLease ◀──────────────────────────┘ ReleaseAfter
type lease struct {
	// pending is the decision that waits, nil when none does. It stands as it
	// was taken: the other side decided at the same time and may count on it.
	pending *Decision
	// askAt is when a delayed decision asks for the lease.
	askAt time.Time
	// attempt counts what was asked for; asked is set while an answer is due,
	// at lateAt at the latest.
	attempt uint64
	asked   bool
	lateAt  time.Time
	// changes: the view changed while the decision waited.
	changes bool

	held bool
	keep keeping
}

// keeping says until when a held lease is kept.
type keeping struct {
	active bool
	// downed are the members whose removal is awaited.
	downed map[member.NodeID]bool
	// until is set once they are removed.
	until time.Time
}

func (l *lease) waiting() bool { return l.pending != nil }

func (r *Resolver) leaseMajority() LeaseMajority {
	s, _ := r.set.Strategy.(LeaseMajority)
	return s.withDefaults()
}

func (r *Resolver) releaseAfter() time.Duration { return r.leaseMajority().ReleaseAfter }

func (r *Resolver) awaitLease(now time.Time, d Decision) {
	r.lease.pending = &d
	r.lease.changes = false
	r.notice(LeaseWait, d.String())
	if d.AcquireAfter > 0 {
		r.lease.askAt = now.Add(d.AcquireAfter)
		r.emit(Wait{Until: r.lease.askAt})
		return
	}
	r.ask(now)
}

func (r *Resolver) ask(now time.Time) {
	r.lease.attempt++
	r.lease.asked = true
	r.lease.lateAt = now.Add(r.leaseMajority().AcquireTimeout)
	r.emit(AcquireLease{Attempt: r.lease.attempt})
	r.emit(Wait{Until: r.lease.lateAt})
}

// leaseTick is a tick while a decision waits.
func (r *Resolver) leaseTick(now time.Time) {
	switch {
	case !r.lease.asked && !now.Before(r.lease.askAt):
		r.ask(now)
	case r.lease.asked && !now.Before(r.lease.lateAt):
		r.settle(now, false, fmt.Sprintf("; no answer came within %v", r.leaseMajority().AcquireTimeout))
	}
}

func (r *Resolver) leaseResult(now time.Time, e LeaseResult) {
	if !r.lease.asked || e.Attempt != r.lease.attempt {
		if e.Held && !r.lease.held {
			r.emit(ReleaseLease{}) // it came too late to act on
		}
		return
	}
	r.settle(now, e.Held, "")
}

func (r *Resolver) settle(now time.Time, held bool, why string) {
	d := *r.lease.pending
	r.lease.pending, r.lease.asked, r.lease.held = nil, false, held
	if !held {
		r.lease.keep = keeping{}
		d = *d.Denied
		d.Reason.Words += why
	}
	r.act(now, d)
	if held {
		r.keepFor(now, d.Down)
	}
	if r.lease.changes {
		// what came while the decision waited counts from now
		r.unrest.note(now)
		r.calm()
		r.stableAt = now.Add(max(r.set.StableAfter, 0))
	}
}

func (r *Resolver) keepFor(now time.Time, downed []member.NodeID) {
	k := &r.lease.keep
	if k.downed == nil {
		k.downed = make(map[member.NodeID]bool)
	}
	k.active = true
	for _, id := range downed {
		if _, ok := r.members[id]; ok {
			k.downed[id] = true
		}
	}
	if len(k.downed) == 0 {
		k.until = now.Add(r.releaseAfter())
	}
}

func (l *lease) memberRemoved(now time.Time, id member.NodeID, after time.Duration) {
	if !l.keep.active || !l.keep.downed[id] {
		return
	}
	delete(l.keep.downed, id)
	if len(l.keep.downed) == 0 {
		l.keep.until = now.Add(after)
	}
}

func (r *Resolver) releaseDue(now time.Time) {
	if k := r.lease.keep; k.active && len(k.downed) == 0 && !now.Before(k.until) {
		r.emit(ReleaseLease{})
	}
}

func (r *Resolver) releaseResult(now time.Time, released bool) {
	if k := r.lease.keep; released && k.active && len(k.downed) == 0 && !now.Before(k.until) {
		r.lease.keep, r.lease.held = keeping{}, false
	}
}

// stopLease ends all dealing with the lease of a node that is removed. One that
// it holds is not given back: only its expiry proves that the node has stopped.
func (r *Resolver) stopLease() { r.lease = lease{attempt: r.lease.attempt} }

// late is an event after the end: a lease that comes in now was never acted on
// and is given back.
func (r *Resolver) late(e Event) {
	if res, ok := e.(LeaseResult); ok && res.Held {
		r.emit(ReleaseLease{})
	}
}
