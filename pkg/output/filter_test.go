package output

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		expression, in, want string
		terminal             bool
	}{
		{".key", `{"key":"a"}`, "a\n", false},
		{".", `{"b":1,"a":"<"}`, `{"a":"<","b":1}` + "\n", false},
		{".id", `{"id":14841639068965178418}`, "14841639068965178418\n", false},
		{"select(.n > 1) | .n", `{"n":1}` + "\n" + `{"n":2}` + "\n", "2\n", false},
		{".a, .b", `{"a":null,"b":true}`, "null\ntrue\n", false},
		{".[]", `["a",1]`, "a\n1\n", false},
		{"empty", `{"a":1}`, "", false},
		{".key", `{"key":"\u001b[31m"}`, `\x1b[31m` + "\n", true},
		{"[.key]", `{"key":"\u009b"}`, `["\u009b"]` + "\n", true},
		{"env", `{}`, "{}\n", false}, // nothing of the environment
	} {
		f, err := NewFilter(c.expression)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		var b bytes.Buffer
		w := f.Writer(&b, Options{Terminal: c.terminal})
		// Records may come in any pieces.
		for _, piece := range strings.SplitAfter(strings.TrimSuffix(c.in, "\n")+"\n", ":") {
			if _, err := io.WriteString(w, piece); err != nil {
				t.Errorf("%s: %v", c.expression, err)
			}
		}
		if b.String() != c.want {
			t.Errorf("%s: got %q, want %q", c.expression, b.String(), c.want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for _, expression := range []string{".[", "nosuch", "|", "input_filename", "$x"} {
		if f, err := NewFilter(expression); err == nil {
			t.Errorf("%s: %v", expression, f)
		} else if e, ok := errors.AsType[*FilterError](err); !ok || e.Parsed || strings.Contains(e.Error(), "\n") {
			t.Errorf("%s: %q", expression, err)
		}
	}
	f, err := NewFilter(".key | .inner")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(io.Discard, Options{Format: JSONL, Filter: f})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Sheet(Sheet{Records: []any{map[string]string{"key": "text"}}})
	if e, ok := errors.AsType[*FilterError](err); !ok || !e.Parsed {
		t.Errorf("a record that does not fit: %v", err)
	}
}
