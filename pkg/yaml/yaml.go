// Package yaml reads and writes YAML. It is the only package that knows which library does it.
package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	yaml3 "gopkg.in/yaml.v3"
)

// Error says what is wrong with a document, and where. Line and Column count from 1; Column is 0 when it is not known.
type Error struct {
	Name         string // of the document, such as its file
	Line, Column int
	Text         string
}

// Error returns "name:line:column: text".
func (e *Error) Error() string {
	at := e.Name
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	if e.Column > 0 {
		at += ":" + strconv.Itoa(e.Column)
	}
	return at + ": " + e.Text
}

// Marshal returns v as a YAML document, with two spaces per level.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml3.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// FromJSON returns a JSON document as YAML. The members of objects keep their order, and numbers all their digits.
func FromJSON(text []byte) ([]byte, error) {
	// JSON without surrogate pairs, which Go does not write, is YAML in another style, but for what YAML wants escaped.
	var b bytes.Buffer
	for _, r := range string(text) {
		if r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	var doc yaml3.Node
	if err := yaml3.Unmarshal(b.Bytes(), &doc); err != nil {
		return nil, err
	}
	asBlocks(&doc)
	return Marshal(&doc)
}

// asBlocks takes brackets and needless quotes away.
func asBlocks(n *yaml3.Node) {
	n.Style = 0
	if n.Kind == yaml3.ScalarNode && n.Tag == "!!str" && strings.Contains(n.Value, "\n") {
		n.Style = yaml3.LiteralStyle
	}
	for _, c := range n.Content {
		asBlocks(c)
	}
}

// Decode reads the one document in data into what into points to; an empty one leaves it as it is. Fields that into does
// not have, repeated fields and a second document are errors. It returns an *Error; name is what that calls the document.
func Decode(name string, data []byte, into any) error {
	dec := yaml3.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	switch err := dec.Decode(into); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return locate(name, data, err)
	}
	var second yaml3.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return &Error{Name: name, Line: second.Line, Column: second.Column, Text: "there is a second document"}
	}
	return nil
}

// locate turns the library's error, which knows the line at best, into an Error.
func locate(name string, data []byte, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if te, ok := errors.AsType[*yaml3.TypeError](err); ok && len(te.Errors) > 0 {
		text = te.Errors[0]
	}
	line := 0
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	e := &Error{Name: name, Line: line, Text: text}
	word := ""
	if m := regexp.MustCompile(`^field (.+) not found in type `).FindStringSubmatch(text); m != nil {
		word, e.Text = m[1], fmt.Sprintf("unknown field %q", m[1])
	} else if m := regexp.MustCompile("^cannot unmarshal !!(\\w+) `(.*)` into (.+)$").FindStringSubmatch(text); m != nil {
		word, e.Text = strings.TrimSuffix(m[2], "..."), fmt.Sprintf("%q is not %s", m[2], typeName(m[3]))
	} else if m := regexp.MustCompile(`^mapping key "(.+)" already defined at line (\d+)`).FindStringSubmatch(text); m != nil {
		word, e.Text = m[1], fmt.Sprintf("field %q is already set in line %s", m[1], m[2])
	}
	var root yaml3.Node
	if yaml3.Unmarshal(data, &root) == nil {
		e.Column = column(&root, line, word)
	}
	return e
}

// typeName says in words what a Go type wants.
func typeName(t string) string {
	switch {
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"), strings.HasPrefix(t, "float"):
		return "a number"
	case t == "bool":
		return "true or false"
	case t == "time.Duration":
		return "a duration such as 5s"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	}
	return "of the type " + t
}

// column returns where in line a scalar that begins with word stands, or the line's first node; 0 without any.
func column(n *yaml3.Node, line int, word string) int {
	first := 0
	var visit func(*yaml3.Node) bool
	visit = func(n *yaml3.Node) bool {
		if n.Line == line && n.Kind == yaml3.ScalarNode {
			if first == 0 {
				first = n.Column
			}
			if word != "" && strings.HasPrefix(n.Value, word) {
				first = n.Column
				return true
			}
		}
		for _, c := range n.Content {
			if visit(c) {
				return true
			}
		}
		return false
	}
	visit(n)
	return first
}
