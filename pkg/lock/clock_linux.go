package lock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now reads CLOCK_BOOTTIME. Go's own monotonic clock stands still while the machine is suspended; a lease does not.
func Now() Instant { return read(unix.CLOCK_BOOTTIME) }

func read(clock int32) Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return Instant(time.Now().UnixNano())
	}
	return Instant(ts.Nano())
}
