package cmd

import "testing"

// What etcdctl's commands say last tells whether a write may have been applied.
func TestVerdictOfEtcdctl(t *testing.T) {
	const reset = "rpc error: code = Unavailable desc = error reading from server: read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer"
	const refused = `rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:2: connect: connection refused"`
	for _, c := range []struct {
		words []string
		text  string
		want  int
	}{
		{[]string{"compaction"}, reset, exitUnknown},
		{[]string{"lease", "grant"}, reset, exitUnknown},
		{[]string{"lease", "list"}, reset, exitUnavailable},
		{[]string{"compaction"}, refused, exitUnavailable},
		{[]string{"compaction"}, "context deadline exceeded", exitUnknown},
		{[]string{"member", "list"}, "context deadline exceeded", exitUnavailable},
		{[]string{"member", "list"}, "etcdserver: permission denied", exitDenied},
		{[]string{"compaction"}, "etcdserver: request timed out", exitUnknown},
		{[]string{"compaction"}, "etcdserver: leader changed", exitUnknown},
		{[]string{"compaction"}, "etcdserver: no leader", exitUnavailable},
		{[]string{"member", "list"}, "etcdserver: request timed out", exitUnavailable},
		{[]string{"alarm", "list"}, "something else", exitFailed},
	} {
		if got, _ := classify(verdict(c.words, 1, c.text)); got != c.want {
			t.Errorf("%v, %q: %d, want %d", c.words, c.text, got, c.want)
		}
	}
}
