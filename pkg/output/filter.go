package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/itchyny/gojq"
)

// Filter is an expression of jq's language that turns each record into what is printed instead.
type Filter struct{ code *gojq.Code }

// FilterError is an expression that cannot be understood, or a record that it does not fit.
type FilterError struct {
	Err error
	// Parsed says that the expression is right as such: a record did not have what it takes for granted.
	Parsed bool
}

// Error tells why.
func (e *FilterError) Error() string { return "--jq: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *FilterError) Unwrap() error { return e.Err }

// NewFilter compiles an expression, or returns a *FilterError. The expression sees no environment and no files.
func NewFilter(expression string) (*Filter, error) {
	query, err := gojq.Parse(expression)
	if err != nil {
		return nil, &FilterError{Err: err}
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, &FilterError{Err: err}
	}
	return &Filter{code}, nil
}

// Writer returns a writer that takes lines of JSON, and writes what the filter makes of each to w: strings as they are, on a
// terminal without what could harm it, everything else as JSON, each on a line of its own.
func (f *Filter) Writer(w io.Writer, o Options) io.Writer { return &filtered{f: f, w: w, o: o} }

type filtered struct {
	f    *Filter
	w    io.Writer
	o    Options
	line []byte // begun, but not ended yet
}

// Write implements io.Writer.
func (f *filtered) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte{'\n'})
		f.line, rest = append(f.line, part...), after
		if !ended {
			break
		}
		out, err := f.apply(f.line)
		f.line = f.line[:0]
		if _, werr := f.w.Write(out); werr != nil {
			return 0, werr
		}
		if err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// apply returns what the filter makes of one record.
func (f *filtered) apply(line []byte) (out []byte, err error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber() // IDs and revisions keep all their digits
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("no record: %w", err)
	}
	for results := f.f.code.Run(v); ; {
		r, more := results.Next()
		if !more {
			return out, nil
		}
		if err, ok := r.(error); ok {
			if halt, ok := errors.AsType[*gojq.HaltError](err); ok && halt.Value() == nil {
				return out, nil
			}
			return out, &FilterError{Err: err, Parsed: true}
		}
		if s, ok := r.(string); ok {
			out = append(append(out, f.o.shown([]byte(s), false)...), '\n')
			continue
		}
		text, err := gojq.Marshal(r)
		if err != nil {
			return out, err
		}
		out = f.o.visible(append(out, text...), len(out))
		out = append(out, '\n')
	}
}
