package allocation_test

import (
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/sharding/allocation"
)

func TestVersionsCompare(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "0", -1},
		{"1", "1.0.0", 0},
		{"1.2", "1.2.0", 0},
		{"1.2", "1.3", -1},
		{"1.9.0", "1.10.0", -1},
		{"3.2", "3.2.7", -1},
		{"3.2.1", "1.2.3", 1},
		{"2b", "2a", 1},
		{"2020-09-07", "2020-08-30", 1},
		{"1.2.3-M1", "1.2.3-M2", -1},
		{"1.2.3-M9", "1.2.3-M10", -1},
		{"1.2-M1", "1.2.0", -1},
		{"1.0.0", "1.0.0+1-ab", -1},
		{"1.0.10+3-1234abcd", "1.0.10+10-1234abcd", -1},
		{"1.0.10-3-1234abcd", "1.0.10-10-1234abcd", -1},
		{"1.0.10+3a-1234abcd", "1.0.10+3b-1234abcd", -1},
		{"1.0.0+3-1234abcd+20140707-1030", "1.0.0+3-1234abcd+20140707-1130", -1},
		{"HEAD+20140707-1030", "HEAD+20140707-1130", -1},
		{"foo", "bar", 1},
		{"foo", "1.2.3", -1},
		{"1..2", "0", -1},
		{"1.2x", "0.1", -1},
		{"build-99999999999999999999", "build-100000000000000000000", -1},
		{"v2", "v10", -1},
		{"007", "7", 0},
	}
	for _, tt := range tests {
		t.Run(tt.a+" and "+tt.b, func(t *testing.T) {
			if got := allocation.CompareVersions(tt.a, tt.b); got != tt.want {
				t.Errorf("CompareVersions(%q, %q) got %d, want %d", tt.a, tt.b, got, tt.want)
			}
			if got := allocation.CompareVersions(tt.b, tt.a); got != -tt.want {
				t.Errorf("CompareVersions(%q, %q) got %d, want %d", tt.b, tt.a, got, -tt.want)
			}
		})
	}
}

// The order is used for sorting, so it must be one: a cycle of three would make
// the preferred node depend on chance.
func FuzzVersionsHaveATotalOrder(f *testing.F) {
	f.Add("1.2.3", "1.2.3-rc1", "HEAD")
	f.Add("", "0", "00")
	f.Add("1+2", "1-2", "1")
	f.Add("a1b", "a01b", "a1c")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		v := []string{a, b, c}
		for _, x := range v {
			if got := allocation.CompareVersions(x, x); got != 0 {
				t.Fatalf("CompareVersions(%q, itself) got %d, want 0", x, got)
			}
			for _, y := range v {
				if allocation.CompareVersions(x, y) != -allocation.CompareVersions(y, x) {
					t.Fatalf("%q and %q do not mirror", x, y)
				}
			}
		}
		slices.SortFunc(v, allocation.CompareVersions)
		if allocation.CompareVersions(v[0], v[2]) > 0 {
			t.Fatalf("%q sorts before %q, but compares higher", v[0], v[2])
		}
	})
}
