package cmd

import (
	"slices"
	"testing"
)

// TestGoldenSeesFaultyPrograms runs programs that are etcdx but for one fault, and wants the comparison to see it: the four
// faults that etcd's own tests do not. The program without a fault shows that it is not the way of planting that is seen.
func TestGoldenSeesFaultyPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("several hundred commands")
	}
	t.Parallel()
	j := newJudge(t)
	j.cases = slices.DeleteFunc(j.cases, func(c goldenCase) bool {
		return c.terminal || c.format() != "simple" || slices.Contains(c.args, "--hex") ||
			!slices.Contains([]string{"get", "put", "del", "lock"}, c.args[0]) || slices.Contains(c.args, "del")
	})
	want := j.record(t, "etcdctl", nil)
	for fault, where := range map[string][]string{
		"none":                nil,
		"colour":              {"put"},
		"value before key":    {"get"},
		"flat codes":          {"get", "put"},
		"lost code of a lock": {"lock"},
	} {
		seen, runs := map[string]int{}, 0
		for i, got := range j.observe(t, "faulty", []string{asVariable + "=etcdctl", faultVariable + "=" + fault}) {
			runs++
			c := j.cases[i]
			d := difference(c, want[i], got)
			if d == "" {
				continue
			}
			seen[c.args[0]]++
			if fault == "none" {
				t.Errorf("%s: %s", c, d)
			} else if !slices.ContainsFunc(where, func(command string) bool { return seen[command] == 0 }) {
				break
			}
		}
		for _, command := range where {
			if seen[command] == 0 {
				t.Errorf("%s: not seen in any %s", fault, command)
			}
		}
		t.Logf("%s: seen in %v of %d commands", fault, seen, runs)
	}
}
