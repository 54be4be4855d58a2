package remotetest

import (
	"errors"
	"sync"
	"time"
)

var (
	errRefused  = errors.New("remotetest: connection refused")
	errNoAnswer = errors.New("remotetest: no answer in time")
)

// wire is one connection between two nodes, whatever travels on it.
type wire struct {
	net  *Network
	a, b *Node // dialer and acceptor

	once   sync.Once
	broken chan struct{}
}

func newWire(a, b *Node) *wire {
	return &wire{net: a.net, a: a, b: b, broken: make(chan struct{})}
}

// sever ends the connection, once. lost tells both ends that it broke.
func (w *wire) sever(lost bool) {
	w.once.Do(func() {
		close(w.broken)
		w.a.detach(w)
		w.b.detach(w)
		if lost {
			w.a.lost(w.b.self)
			w.b.lost(w.a.self)
		}
	})
}

// keep breaks the connection when an end dies or the path stays cut.
func (w *wire) keep() {
	var cut *time.Timer
	var expired <-chan time.Time
	for {
		w.net.mu.Lock()
		changed, after := w.net.changed, w.net.breakAfter
		blocked := w.net.faults[path{w.a.self.Addr, w.b.self.Addr}].cut || w.net.faults[path{w.b.self.Addr, w.a.self.Addr}].cut ||
			w.a.hung || w.b.hung
		dead := !w.a.alive() || !w.b.alive()
		w.net.mu.Unlock()
		switch {
		case blocked && cut == nil:
			cut = time.NewTimer(after)
			expired = cut.C
		case !blocked && dead:
			w.sever(true)
			return
		case !blocked && cut != nil:
			cut.Stop()
			cut, expired = nil, nil
		}
		select {
		case <-changed:
		case <-expired:
			w.sever(true)
			return
		case <-w.broken:
			if cut != nil {
				cut.Stop()
			}
			return
		}
	}
}

// arrive waits until something sent from one end reaches the other. It reports
// false when the connection broke.
func (w *wire) arrive(from, to *Node, at time.Time) bool {
	if d := time.Until(at); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-w.broken:
			return false
		}
	}
	for {
		ok, changed := w.net.delivers(from, to)
		if ok {
			select {
			case <-w.broken:
				return false
			default:
				return true
			}
		}
		select {
		case <-changed:
		case <-w.broken:
			return false
		}
	}
}
