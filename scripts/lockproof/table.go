package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The table of one tool stands between two marks. Its rows are the record: what is written is what will be read again.
func marks(tool string) (begin, end string) {
	return "<!-- lockproof " + tool + " -->", "<!-- lockproof " + tool + " end -->"
}

const tableHead = `| fault | faults | acquisitions | overlaps | tokens that did not rise | fenced off | counted | updates lost | locks lost | TTL | date |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|
`

// row is one line of the table.
func row(name string, r result, ttl int, date string) string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d s | %s |\n",
		name, r.faults, r.acquisitions, r.overlaps, r.unordered, r.fenced, r.counter, r.miscounted, r.lost, ttl, date)
}

// writeResult puts the result of a class into the table of a file, in the place of an older one.
func writeResult(o options, class string, r result) error {
	text, err := os.ReadFile(o.write)
	if err != nil {
		return err
	}
	begin, end := marks(o.tool)
	before, rest, ok := strings.Cut(string(text), begin+"\n")
	old, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no lines %q and %q", o.write, begin, end)
	}
	table, err := updated(old, class, row(class, r, o.ttl, time.Now().UTC().Format(time.DateOnly)))
	if err != nil {
		return fmt.Errorf("%s: %w", o.write, err)
	}
	return os.WriteFile(o.write, []byte(before+begin+"\n"+table+end+after), 0o644)
}

// updated returns a table with a new row for a class, in the order of faults, and with the sum of all rows.
func updated(old, class, fresh string) (string, error) {
	rows := map[string]string{}
	for line := range strings.Lines(old) {
		if cells := strings.Split(line, "|"); len(cells) > 1 {
			rows[strings.TrimSpace(cells[1])] = line
		}
	}
	rows[class] = fresh
	table := tableHead
	var sum [8]int // of the columns after the class
	classes := 0
	for _, f := range faults() {
		line, ok := rows[f.name]
		if !ok {
			continue
		}
		classes++
		table += line
		cells := strings.Split(line, "|")
		for i := range sum {
			if len(cells) != len(sum)+5 {
				return "", fmt.Errorf("this is no row of lockproof: %q", line)
			}
			n, err := strconv.Atoi(strings.TrimSpace(cells[i+2]))
			if err != nil {
				return "", err
			}
			sum[i] += n
		}
	}
	table += fmt.Sprintf("| **%d classes** |", classes)
	for _, n := range sum {
		table += fmt.Sprintf(" **%d** |", n)
	}
	return table + " | |\n", nil
}
