//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Span is something that lasted, on a row of the chart.
type Span struct {
	Row      string
	Mark     byte
	From, To time.Duration // To == 0: it had not ended
	Label    string        // for the list below the chart; empty: not listed
}

// Chart draws the rows over time from w.From to w.To, in so many columns, and lists the spans that have a label. Later spans
// are drawn over earlier ones. Rows come in the order in which they are given; spans on other rows are left out.
func Chart(rows []string, spans []Span, w Window, columns int) string {
	w.From = max(w.From, 0)
	per := max(1, (w.To-w.From)/time.Duration(columns))
	width := 0
	lines := map[string][]byte{}
	for _, r := range rows {
		width = max(width, len(r))
		lines[r] = []byte(strings.Repeat(".", columns))
	}
	var listed []Span
	for _, s := range spans {
		line, ok := lines[s.Row]
		end := s.To
		if end == 0 {
			end = w.To
		}
		if !ok || s.From > w.To || end < w.From {
			continue
		}
		first := int(max(0, s.From-w.From) / per)
		last := int(min(w.To, end)-w.From) / int(per)
		for i := first; i <= last && i < columns; i++ {
			line[i] = s.Mark
		}
		if s.Label != "" {
			listed = append(listed, s)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%*s  %-*s%8.2fs, %v a column\n", width, "", columns-8, fmt.Sprintf("%.2fs", w.From.Seconds()), w.To.Seconds(), per.Round(time.Millisecond))
	for _, r := range rows {
		fmt.Fprintf(&b, "%*s |%s|\n", width, r, lines[r])
	}
	slices.SortStableFunc(listed, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range listed {
		end := "..."
		if s.To > 0 {
			end = fmt.Sprintf("%.3fs", s.To.Seconds())
		}
		fmt.Fprintf(&b, "%9.3fs-%9s %-*s %c %s\n", s.From.Seconds(), end, width, s.Row, s.Mark, s.Label)
	}
	return b.String()
}
