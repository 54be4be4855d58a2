package actor

import (
	"runtime"
	"sync"
)

const (
	// maxIdle bounds the goroutines of a system that wait for work.
	maxIdle = 256
	// relayEvery is the number of actors after which a goroutine that always
	// finds another one lets others run.
	relayEvery = 64
	// keepReady is the capacity of a half of the queue that is kept when empty.
	keepReady = 1024
)

// crew is the goroutines that run actors. Each takes the next actor that is
// ready when it has finished one, and waits when there is none: its stack has
// grown to what behaviors need, and going on is cheaper than waking another
// goroutine for each actor.
//
// Behaviors may block, and no actor waits behind them: while the queue is not
// empty there is a seeker, a goroutine that has nothing else to do but to take
// from it. It passes the role on when it leaves something behind.
type crew struct {
	mu sync.Mutex
	// in and out are the halves of the queue: out[at:] goes before in.
	in, out []runnable
	at      int
	seeking bool
	idle    []chan struct{}
	closed  bool
}

// runnable is a cell.
type runnable interface{ process() }

// run has a goroutine process r. There is no limit to those at work, because
// actors may wait for each other.
func (cr *crew) run(r runnable) {
	cr.mu.Lock()
	cr.in = append(cr.in, r)
	seek := !cr.seeking
	cr.unlock(seek)
}

// unlock leaves the lock; with seek, some goroutine becomes the seeker.
func (cr *crew) unlock(seek bool) {
	if !seek {
		cr.mu.Unlock()
		return
	}
	cr.seeking = true
	n := len(cr.idle)
	if n == 0 {
		cr.mu.Unlock()
		go cr.work()
		return
	}
	bell := cr.idle[n-1]
	cr.idle = cr.idle[:n-1]
	cr.mu.Unlock()
	bell <- struct{}{}
}

// take removes the first of the queue, nil when it is empty. The lock is held.
func (cr *crew) take() runnable {
	if cr.at == len(cr.out) {
		if cap(cr.out) > keepReady {
			cr.out = nil
		}
		cr.in, cr.out, cr.at = cr.out[:0], cr.in, 0
		if len(cr.out) == 0 {
			return nil
		}
	}
	r := cr.out[cr.at]
	cr.out[cr.at] = nil
	cr.at++
	return r
}

// work runs actors. It begins as the seeker.
func (cr *crew) work() {
	var bell chan struct{}
	seeker := true
	for n := 1; ; n++ {
		if n%relayEvery == 0 && !seeker {
			runtime.Gosched()
		}
		cr.mu.Lock()
		if seeker {
			cr.seeking, seeker = false, false
		}
		if r := cr.take(); r != nil {
			left := cr.at < len(cr.out) || len(cr.in) > 0
			cr.unlock(left && !cr.seeking)
			r.process() // ends this goroutine when user code calls runtime.Goexit
			continue
		}
		if cr.closed || len(cr.idle) == maxIdle {
			cr.mu.Unlock()
			return
		}
		if bell == nil {
			bell = make(chan struct{}, 1)
		}
		cr.idle = append(cr.idle, bell)
		cr.mu.Unlock()
		if _, seeker = <-bell; !seeker {
			return
		}
	}
}

// close ends those that wait; those that work end after that.
func (cr *crew) close() {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.closed = true
	for _, bell := range cr.idle {
		close(bell)
	}
	cr.idle = nil
}
