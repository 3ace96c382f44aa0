package watch

import (
	"strconv"
	"strings"
)

// SoundProgress says whether a server of this version answers progress requests only after all events before the answer's
// revision. Servers before 3.4.25 and 3.5.8 answer too early, ahead of events that are still on their way (etcd #15220).
// A version that cannot be read is not trusted.
func SoundProgress(version string) bool {
	major, minor, patch, ok := parseVersion(version)
	switch {
	case !ok || major < 3 || major == 3 && minor < 4:
		return false
	case major == 3 && minor == 4:
		return patch >= 25
	case major == 3 && minor == 5:
		return patch >= 8
	}
	return true
}

func parseVersion(v string) (major, minor, patch int, ok bool) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return 0, 0, 0, false
	}
	var n [3]int
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(p); err != nil || n[i] < 0 {
			return 0, 0, 0, false
		}
	}
	return n[0], n[1], n[2], true
}
