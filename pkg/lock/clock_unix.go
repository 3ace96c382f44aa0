//go:build unix && !linux

package lock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now reads CLOCK_MONOTONIC. On macOS it also runs while the machine sleeps.
func Now() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return Instant(time.Now().UnixNano())
	}
	return Instant(ts.Nano())
}
