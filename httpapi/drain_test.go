package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/httpapi"
)

func TestDrainingAsksClientsToLeave(t *testing.T) {
	var d httpapi.Drain
	h := d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if got := d.InFlight(); got != 1 {
			t.Errorf("in flight during a request got %d, want 1", got)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	ask := func() string {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		return rec.Header().Get("Connection")
	}
	if got := ask(); got != "" || d.Draining() {
		t.Errorf("before draining got Connection %q, draining %v", got, d.Draining())
	}
	d.Start()
	d.Start()
	if got := ask(); got != "close" || !d.Draining() {
		t.Errorf("while draining got Connection %q, draining %v, want close", got, d.Draining())
	}
	if got := d.InFlight(); got != 0 {
		t.Errorf("in flight afterwards got %d, want 0", got)
	}
}

func TestWaitQuietCountsFromTheLastNewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d httpapi.Drain
		d.ConnState(nil, http.StateNew) // before draining: does not count
		<-time.After(time.Hour)
		start := time.Now()
		go func() {
			<-time.After(3 * time.Second)
			d.ConnState(nil, http.StateNew)
			<-time.After(4 * time.Second)
			d.ConnState(nil, http.StateActive) // not a new one
			d.ConnState(nil, http.StateIdle)
			d.ConnState(nil, http.StateClosed)
		}()
		if err := d.WaitQuiet(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != 13*time.Second {
			t.Errorf("waited %v, want 13s: 10s after the connection that came at 3s", got)
		}
		if got := d.LastConn().Sub(start); got != 3*time.Second {
			t.Errorf("last connection came at %v, want 3s", got)
		}
	})
}

func TestWaitQuietEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d httpapi.Drain
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		err := d.WaitQuiet(ctx, 10*time.Second)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "4s ago") {
			t.Errorf("got %v, want the deadline and when the last connection came", err)
		}
	})
}

func TestWaitRequestsWaitsForThoseInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d httpapi.Drain
		if err := d.WaitRequests(t.Context()); err != nil {
			t.Fatalf("without requests got %v, want nil", err)
		}
		h := d.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-time.After(time.Duration(len(r.URL.Path)) * time.Second)
		}))
		start := time.Now()
		for _, path := range []string{"/", "/1234"} {
			go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := d.WaitRequests(short); err == nil || !strings.Contains(err.Error(), "1 requests are still in flight") {
			t.Errorf("after 2s got %v, want an error that counts 1", err)
		}
		if err := d.WaitRequests(t.Context()); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("got %v after %v, want nil after 5s", err, time.Since(start))
		}
	})
}
