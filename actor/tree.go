package actor

import "runtime"

// node is an actor's place in the tree. The links are intrusive, and guarded by
// one lock per system: an actor costs four words, and a parent nothing more.
type node struct {
	owner owner
	// parent is nil for the root only.
	parent *node
	// first is the newest child; next is the one spawned before.
	first, next, prev *node
}

// owner is what a parent knows of a child of any message type, and a child of its
// parent.
type owner interface {
	stop()
	wake()
	// refusing says that no child can be taken any more.
	refusing() bool
}

// link puts n below parent, unless that is stopping or restarting.
func (s *System) link(parent, n *node) bool {
	s.tree.Lock()
	defer s.tree.Unlock()
	if s.closing || parent.owner != nil && parent.owner.refusing() {
		return false
	}
	n.parent = parent
	n.next = parent.first
	if n.next != nil {
		n.next.prev = n
	}
	parent.first = n
	s.actors.Add(1)
	return true
}

// unlink takes n out, and tells its parent when it was the last child.
func (s *System) unlink(n *node) {
	s.tree.Lock()
	parent := n.parent
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		parent.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.next, n.prev = nil, nil
	s.actors.Add(-1)
	last := parent.first == nil
	if last && parent.owner == nil && s.closing {
		s.closed()
	}
	s.tree.Unlock()
	if last && parent.owner != nil {
		parent.owner.wake()
	}
}

func (s *System) childless(n *node) bool {
	s.tree.Lock()
	defer s.tree.Unlock()
	return n.first == nil
}

// stopChildren asks all present children of n to stop, the newest first; n refuses
// new ones by now. It gives way now and then, so that the goroutines of a large
// family do not exist all at once.
func (s *System) stopChildren(n *node) {
	var owners []owner
	s.tree.Lock()
	for c := n.first; c != nil; c = c.next {
		owners = append(owners, c.owner)
	}
	s.tree.Unlock()
	for i, o := range owners {
		o.stop()
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
}
