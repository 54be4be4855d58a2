package actor

import "sync"

// maxIdle bounds the goroutines of a system that wait for work.
const maxIdle = 256

// crew is the goroutines that run actors. One that has finished waits for the
// next actor instead of ending: its stack has grown to what behaviors need, and
// growing a fresh one costs more than handling most messages does.
type crew struct {
	mu     sync.Mutex
	idle   []chan runnable
	closed bool
}

// runnable is a cell.
type runnable interface{ process() }

// run has a goroutine process r. There is no limit to those at work, because
// actors may wait for each other.
func (cr *crew) run(r runnable) {
	cr.mu.Lock()
	n := len(cr.idle)
	if n == 0 {
		cr.mu.Unlock()
		go cr.work(r)
		return
	}
	next := cr.idle[n-1]
	cr.idle = cr.idle[:n-1]
	cr.mu.Unlock()
	next <- r
}

func (cr *crew) work(r runnable) {
	var next chan runnable
	for r != nil {
		r.process() // ends this goroutine when user code calls runtime.Goexit
		r = nil
		cr.mu.Lock()
		if cr.closed || len(cr.idle) == maxIdle {
			cr.mu.Unlock()
			return
		}
		if next == nil {
			next = make(chan runnable, 1)
		}
		cr.idle = append(cr.idle, next)
		cr.mu.Unlock()
		r = <-next
	}
}

// close ends those that wait; those that work end after that.
func (cr *crew) close() {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.closed = true
	for _, next := range cr.idle {
		close(next)
	}
	cr.idle = nil
}
