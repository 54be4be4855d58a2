package remote

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Deadlines expires the asks of a transport's outboxes, one tick at a time, and
// rests while no ask is open. The zero value is not usable: see [NewDeadlines].
type Deadlines struct {
	idle atomic.Bool
	wake chan struct{}

	mu    sync.Mutex
	boxes map[*Outbox]struct{}
}

// NewDeadlines returns a Deadlines without outboxes.
func NewDeadlines() *Deadlines {
	return &Deadlines{wake: make(chan struct{}, 1), boxes: map[*Outbox]struct{}{}}
}

// Run expires asks until ctx ends.
func (d *Deadlines) Run(ctx context.Context) {
	t := time.NewTimer(Tick)
	defer t.Stop()
	for {
		if d.expire(time.Now()) == 0 {
			d.idle.Store(true)
			// An ask that was posted before idle was set did not wake us.
			if d.expire(time.Now()) == 0 {
				select {
				case <-d.wake:
				case <-ctx.Done():
					return
				}
			}
			d.idle.Store(false)
		}
		t.Reset(Tick)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// expire fails what is overdue and returns the number of open asks.
func (d *Deadlines) expire(now time.Time) int {
	d.mu.Lock()
	boxes := make([]*Outbox, 0, len(d.boxes))
	for o := range d.boxes {
		boxes = append(boxes, o)
	}
	d.mu.Unlock()
	open := 0
	for _, o := range boxes {
		open += o.Expire(now)
	}
	return open
}

// kick ends the rest when there is one.
func (d *Deadlines) kick() {
	if d.idle.Load() && d.idle.CompareAndSwap(true, false) {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

func (d *Deadlines) add(o *Outbox) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.boxes[o] = struct{}{}
}

func (d *Deadlines) remove(o *Outbox) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.boxes, o)
}
