package output

import (
	"bytes"
	"strings"
	"text/tabwriter"

	"github.com/etcdx/etcdx/pkg/yaml"
)

// Sheet is what a command of etcdx's own prints: records of one kind, in every form in which they can be shown.
type Sheet struct {
	// Records become JSON and YAML.
	Records []any
	// One says that there always is one record: it is no list in YAML.
	One bool
	// Values are what the format value prints, one line each.
	Values []string
	// Columns and Cells, a row per record, are the table. Without them every member of the records is a column.
	Columns []string
	Cells   [][]string
	// Simple is the format simple, ended by a newline; empty: the table, if there are Columns.
	Simple string
}

// Sheet prints records. The formats json and jsonl are the same here: a line for each. It returns a *FormatError for fields
// and protobuf, which are etcd's.
func (p *Printer) Sheet(s Sheet) error {
	b := p.buf[:0]
	switch p.o.Format {
	case Simple:
		b = append(b, p.o.shown([]byte(s.Simple), false)...)
		if s.Simple == "" && s.Columns != nil {
			b = s.table(b)
		}
	case Table:
		if s.Columns == nil {
			if err := s.fillTable(); err != nil {
				return err
			}
		}
		b = s.table(b)
	case JSON, JSONL:
		for _, r := range s.Records {
			b = jsonLines{p.o}.line(b, r)
		}
	case YAML:
		return p.yaml(b, s)
	case Value:
		for _, v := range s.Values {
			b = append(b, p.o.shown([]byte(v), true)...)
			b = append(b, p.o.separator())
		}
	default:
		return &FormatError{Format: p.o.Format, Unsupported: true}
	}
	return p.write(b)
}

// Raw prints a line of JSON, through the filter if there is one.
func (p *Printer) Raw(line []byte) error { return p.write(append(p.buf[:0], line...)) }

// yaml writes one list, or one record. The order of a record's members is that of its JSON.
func (p *Printer) yaml(b []byte, s Sheet) error {
	var doc any = s.Records
	switch {
	case s.One && len(s.Records) == 1:
		doc = s.Records[0]
	case s.Records == nil:
		doc = []any{}
	}
	text, err := marshal(doc)
	if err == nil {
		text, err = yaml.FromJSON(text)
	}
	if err != nil {
		return err
	}
	return p.write(p.o.visible(append(b, text...), len(b)))
}

// fillTable makes a column of every member that any record has, except the schema.
func (s *Sheet) fillTable() error {
	at := map[string]int{}
	rows := make([]members, len(s.Records))
	for i, r := range s.Records {
		text, err := marshal(r)
		if err != nil {
			return err
		}
		v, err := parse(text)
		if err != nil {
			return err
		}
		rows[i], _ = v.(members)
		for _, f := range rows[i] {
			if _, ok := at[f.name]; !ok && f.name != "schema" {
				at[f.name] = len(s.Columns)
				s.Columns = append(s.Columns, strings.ToUpper(strings.ReplaceAll(f.name, "_", " ")))
			}
		}
	}
	for _, row := range rows {
		cells := make([]string, len(s.Columns))
		for _, f := range row {
			if i, ok := at[f.name]; ok {
				cells[i] = cellOf(f.value)
			}
		}
		s.Cells = append(s.Cells, cells)
	}
	return nil
}

// table appends aligned columns. No cell can break its line, or move the cursor.
func (s Sheet) table(b []byte) []byte {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i, row := range append([][]string{s.Columns}, s.Cells...) {
		for k, cell := range row {
			cell = Escape(cell, true)
			if cell == "" && i > 0 {
				cell = "-"
			}
			end := "\t"
			if k == len(row)-1 {
				end = "\n"
			}
			_, _ = w.Write([]byte(strings.ReplaceAll(cell, "\t", `\t`) + end)) // a buffer takes everything
		}
	}
	_ = w.Flush()
	return append(b, text.Bytes()...)
}
