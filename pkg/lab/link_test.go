package lab

import (
	"testing"
	"time"
)

// A segment that is lost again and again comes later each time, and comes in the end.
func TestRetransmission(t *testing.T) {
	for lost, want := range []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond, 3 * time.Second, 6200 * time.Millisecond, 6200 * time.Millisecond} {
		n := 0
		got := retransmission(0.5, func() float64 {
			if n++; n > lost {
				return 0.9
			}
			return 0.1
		})
		if got != want {
			t.Errorf("lost %d times, it is %v late, want %v", lost, got, want)
		}
	}
	if late := retransmission(0, func() float64 { return 0 }); late != 0 {
		t.Errorf("a line that loses nothing is %v late", late)
	}
}
