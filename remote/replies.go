package remote

import (
	"sync"
	"time"
)

// replyWait is how long a reply waits for room before it is lost.
const replyWait = 200 * time.Millisecond

// replyQueue is the bounded queue of replies on their way to one lane.
type replyQueue struct {
	maxLen, maxBytes int
	wake             chan struct{}
	done             chan struct{}

	mu     sync.Mutex
	closed bool
	queue  []frame
	head   int
	bytes  int
	room   chan struct{} // closed when there is room again; nil when nobody waits
}

func newReplyQueue(b Bounds) *replyQueue {
	return &replyQueue{maxLen: b.QueueLen, maxBytes: b.QueueBytes, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// put queues a reply. It reports false when the reply is lost for want of room.
func (q *replyQueue) put(f frame) bool {
	var timeout <-chan time.Time
	for {
		q.mu.Lock()
		if q.closed { // the asker knows that its lane is lost
			q.mu.Unlock()
			return true
		}
		if len(q.queue)-q.head < q.maxLen && q.bytes < q.maxBytes {
			break
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		if timeout == nil {
			t := time.NewTimer(replyWait)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-room:
		case <-q.done:
		case <-timeout:
			return false
		}
	}
	first := len(q.queue) == q.head
	if len(q.queue) == cap(q.queue) && q.head > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	q.queue = append(q.queue, f)
	q.bytes += len(f.payload)
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// len counts the replies that wait.
func (q *replyQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue) - q.head
}

// take appends waiting replies to into, up to about maxBytes.
func (q *replyQueue) take(into []frame, maxBytes int) []frame {
	q.mu.Lock()
	defer q.mu.Unlock()
	for size := 0; q.head < len(q.queue); q.head++ {
		f := &q.queue[q.head]
		cost := len(f.payload) + len(f.code) + len(f.text) + frameCost
		if size > 0 && size+cost > maxBytes {
			break
		}
		size += cost
		q.bytes -= len(f.payload)
		into = append(into, *f)
		*f = frame{}
	}
	if q.head == len(q.queue) {
		q.queue, q.head = q.queue[:0], 0
	}
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	return into
}

// close drops what waits and refuses what comes.
func (q *replyQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.queue, q.head = nil, 0
	close(q.done)
}
