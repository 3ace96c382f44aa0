package lock

import "golang.org/x/sys/windows"

// Now reads the time since the machine started, sleep included.
func Now() Instant { return Instant(windows.DurationSinceBoot()) }
