//go:build linux

package main

import (
	"testing"
	"time"
)

func TestChart(t *testing.T) {
	s := time.Second
	got := Chart([]string{"kv1", "m1"}, []Span{
		{Row: "m1", Mark: 'x', From: 3 * s, To: 5 * s, Label: "killed"},
		{Row: "kv1", Mark: 'p', From: 1 * s, To: 2 * s},
		{Row: "kv1", Mark: '?', From: 8 * s, Label: "never ended"},
		{Row: "elsewhere", Mark: 'e', From: 1 * s, To: 2 * s, Label: "not on the chart"},
		{Row: "m1", Mark: 'e', From: 11 * s, To: 12 * s, Label: "too late"},
	}, Window{0, 10 * s}, 10)
	want := `     0.00s   10.00s, 1s a column
kv1 |.pp.....??|
 m1 |...xxx....|
    3.000s-   5.000s m1  x killed
    8.000s-      ... kv1 ? never ended
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
