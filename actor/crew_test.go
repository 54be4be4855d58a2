package actor

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestGoroutinesWaitForTheNextActorAndEndWithTheSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewSystem(Config{})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		var begun atomic.Int32
		refs := make([]Ref[int], maxIdle+50)
		for i := range refs {
			refs[i] = mustSpawn(t, s, props(fake[int]{receive: func(*Context[int], int) error {
				begun.Add(1)
				<-release
				return nil
			}}))
			mustTell(t, refs[i], 1)
		}
		synctest.Wait()
		if got := int(begun.Load()); got != len(refs) {
			t.Errorf("all behaviors block: got %d that were called, want %d", got, len(refs))
		}
		if got := len(s.crew.idle); got != 0 {
			t.Errorf("all actors are busy: got %d goroutines without work, want 0", got)
		}
		close(release)
		synctest.Wait()
		if got := len(s.crew.idle); got != maxIdle {
			t.Errorf("all actors are idle: got %d goroutines that wait, want %d", got, maxIdle)
		}
		mustTell(t, refs[0], 2)
		mustTell(t, refs[1], 2)
		synctest.Wait()
		if got := len(s.crew.idle); got != maxIdle {
			t.Errorf("after two more messages: got %d goroutines that wait, want %d", got, maxIdle)
		}
		// The bubble does not end before its goroutines have.
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
