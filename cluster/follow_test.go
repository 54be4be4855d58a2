package cluster

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/cluster/table"
)

// generationObserver knows the generation as a region does: from resets only.
type generationObserver struct {
	mu         sync.Mutex
	generation uint64
	stale      int // changes of shards that came while it did not know one
}

func (o *generationObserver) TableReset(s table.Snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.generation = s.Generation
}

func (o *generationObserver) TableChanged(d table.Delta) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.generation == 0 {
		o.stale += len(d.Shards)
	}
}

func TestObserversLearnTheGenerationBeforeAnyShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		former, joiner := r.boot(addr(1)), r.boot(addr(2))
		observers := []*generationObserver{{}, {}}
		former.Observe(observers[0])
		joiner.Observe(observers[1])
		if err := former.Form(r.within(20 * time.Second)); err != nil {
			t.Fatalf("form: %v", err)
		}
		if err := joiner.Join(r.within(20*time.Second), []string{former.self.Addr}); err != nil {
			t.Fatalf("join: %v", err)
		}
		r.settle(former, joiner)
		for i, o := range observers {
			o.mu.Lock()
			if o.generation != 1 || o.stale != 0 {
				t.Errorf("observer %d got generation %d and %d shards before it, want 1 and 0", i, o.generation, o.stale)
			}
			o.mu.Unlock()
		}
		r.stop()
	})
}
