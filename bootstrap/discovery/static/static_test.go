package static_test

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bootstrap/discovery"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/discoverytest"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
)

func TestConformance(t *testing.T) {
	discoverytest.Run(t, discoverytest.Suite{New: func(t *testing.T, want []discovery.Target) discovery.Discovery {
		t.Helper()
		d, err := static.New(want...)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}})
}

func TestParseReportsEveryBadTarget(t *testing.T) {
	_, err := static.Parse("ok:1", "a:0", "b b")
	if err == nil || !strings.Contains(err.Error(), `"a:0"`) || !strings.Contains(err.Error(), `"b b"`) {
		t.Errorf("got %v, want both bad targets named", err)
	}
}

func TestNewReportsEveryBadTarget(t *testing.T) {
	_, err := static.New(discovery.Target{Host: "a", Port: -1}, discovery.Target{})
	if err == nil || !strings.Contains(err.Error(), "port -1") || !strings.Contains(err.Error(), "neither") {
		t.Errorf("got %v, want both problems named", err)
	}
}

func TestDuplicatesAreDropped(t *testing.T) {
	d, err := static.Parse("a:1", "b:1", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Discover(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v, want 2 targets", got, err)
	}
}
