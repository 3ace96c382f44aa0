//go:build linux

package main

import (
	"slices"
	"testing"
)

func TestShrink(t *testing.T) {
	needs := func(all ...int) func([]int) bool {
		return func(part []int) bool {
			return !slices.ContainsFunc(all, func(n int) bool { return !slices.Contains(part, n) })
		}
	}
	for _, tc := range []struct {
		name  string
		n     int
		tries int
		fails func([]int) bool
		want  []int
	}{
		{name: "one of many", n: 60, tries: 1000, fails: needs(17), want: []int{17}},
		{name: "two that are far apart", n: 60, tries: 1000, fails: needs(3, 55), want: []int{3, 55}},
		{name: "all are needed", n: 3, tries: 1000, fails: needs(0, 1, 2), want: []int{0, 1, 2}},
		{name: "only one there is", n: 1, tries: 1000, fails: needs(0), want: []int{0}},
		{name: "no luck again", n: 4, tries: 1000, fails: func([]int) bool { return false }, want: []int{0, 1, 2, 3}},
		{name: "no tries", n: 4, tries: 0, fails: needs(1), want: []int{0, 1, 2, 3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := 0
			got := Shrink(tc.n, tc.tries, func(part []int) bool { asked++; return tc.fails(part) })
			if !slices.Equal(got, tc.want) || asked > tc.tries {
				t.Errorf("%v after %d tries, want %v", got, asked, tc.want)
			}
		})
	}
}

func TestOnly(t *testing.T) {
	only, err := parseOnly("0,12,3")
	if err != nil || formatOnly(only) != "0,12,3" {
		t.Errorf("%v, %v", only, err)
	}
	for _, bad := range []string{"x", "-1", "1,,2"} {
		if _, err := parseOnly(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
