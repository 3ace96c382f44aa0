//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Shrink looks for a smaller part of the numbers 0 to n-1 that still fails, by leaving out ever smaller pieces of it (Zeller's ddmin).
// It asks fails at most tries times, and never for the whole, which is known to fail. Where failing is a matter of luck, the
// answer is a part that failed, not the smallest one.
func Shrink(n, tries int, fails func(part []int) bool) []int {
	part := make([]int, n)
	for i := range part {
		part[i] = i
	}
	for pieces := 2; len(part) > 1 && tries > 0; {
		pieces = min(pieces, len(part))
		size := (len(part) + pieces - 1) / pieces
		smaller := []int(nil)
		for from := 0; from < len(part) && tries > 0 && smaller == nil; from += size {
			rest := slices.Concat(part[:from], part[min(from+size, len(part)):])
			if len(rest) == 0 {
				continue
			}
			tries--
			if fails(rest) {
				smaller = rest
			}
		}
		switch {
		case smaller != nil:
			part, pieces = smaller, max(2, pieces-1)
		case size == 1:
			return part
		default:
			pieces *= 2
		}
	}
	return part
}

// parseOnly reads the numbers of faults, as the report prints them; nil for all.
func parseOnly(text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	only := []int{}
	for word := range strings.SplitSeq(text, ",") {
		i, err := strconv.Atoi(word)
		if err != nil || i < 0 {
			return nil, fmt.Errorf("%q is not the number of a fault", word)
		}
		only = append(only, i)
	}
	return only, nil
}

// formatOnly writes what parseOnly reads.
func formatOnly(only []int) string {
	words := make([]string, len(only))
	for i, n := range only {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// part returns the faults with those numbers; all for nil.
func part(plan []Fault, only []int) []Fault {
	if only == nil {
		return plan
	}
	var some []Fault
	for i, f := range plan {
		if slices.Contains(only, i) {
			some = append(some, f)
		}
	}
	return some
}
