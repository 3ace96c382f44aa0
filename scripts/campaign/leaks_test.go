//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
)

func rules(found []Violation) []string {
	var all []string
	for _, v := range found {
		all = append(all, v.Rule)
	}
	slices.Sort(all)
	return all
}

func TestRemainsAreLeaks(t *testing.T) {
	if got := rules(remains{}.violations()); len(got) != 0 {
		t.Errorf("nothing is left, and that is %v", got)
	}
	r := remains{Leases: 1, Keys: []string{"lock/a/1"}, Processes: []string{"7 etcdx"}, Files: []string{"f"}, Goroutines: []string{"g"}}
	want := []string{"files", "goroutines", "keys", "leases", "processes"}
	if got := rules(r.violations()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCheckUse(t *testing.T) {
	used := map[int]Use{
		1: {Descriptors: mostDescriptors, Memory: mostMemory},
		2: {Descriptors: mostDescriptors + 1},
		3: {Memory: mostMemory + 1},
	}
	if got, want := rules(CheckUse(used)), []string{"descriptors", "memory"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if m := mostUsed(used); m.Descriptors != mostDescriptors+1 || m.Memory != mostMemory+1 {
		t.Errorf("most used: %+v", m)
	}
}

func TestPeakMemory(t *testing.T) {
	for text, want := range map[string]int64{"VmPeak:\t 9 kB\nVmHWM:\t   20 kB\nVmRSS: 1 kB\n": 20 << 10, "": 0, "VmHWM:": 0, "VmHWM: x kB": 0} {
		if got := peakMemory([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", strings.TrimSpace(text), got, want)
		}
	}
}

// This process runs code of its own package's, and none of one that does not exist.
func TestGoroutinesOf(t *testing.T) {
	if len(goroutinesOf("scripts/campaign.TestGoroutinesOf")) == 0 {
		t.Error("it does not see itself")
	}
	if got := goroutinesOf("no/such/package"); len(got) != 0 {
		t.Errorf("it sees what is not there: %v", got)
	}
}
