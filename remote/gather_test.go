package remote

import "testing"

func TestAPacketWaitsOnlyWhileOthersMakeItGrow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sizes []int // what is there after each time others have run; the last stays
		want  int   // times that others run
	}{
		{"nothing comes", []int{0}, 1},
		{"one message alone", []int{1}, 2},
		{"it grows twice", []int{3, 7}, 3},
		{"it never stops to grow", []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, maxGather},
	} {
		t.Run(tt.name, func(t *testing.T) {
			times := 0
			gather(func() int {
				times++
				return tt.sizes[min(times, len(tt.sizes))-1]
			})
			if times != tt.want {
				t.Errorf("others ran %d times, want %d", times, tt.want)
			}
		})
	}
}
