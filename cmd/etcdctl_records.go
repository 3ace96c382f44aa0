package cmd

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/etcdx/etcdx/pkg/output"
)

// shapeOf says what records a command of etcdctl prints.
func shapeOf(words []string) output.Shape {
	switch name := strings.Join(words, " "); name {
	case "member list":
		return output.Shape{Schema: "etcdx.member/1", List: "members", Value: "id"}
	case "endpoint health", "endpoint status":
		return output.Shape{Schema: "etcdx." + strings.ReplaceAll(name, " ", "-") + "/1", Value: "endpoint"}
	case "endpoint hashkv":
		return output.Shape{Schema: "etcdx.endpoint-hashkv/1", Value: "hash"}
	case "lease list":
		return output.Shape{Schema: "etcdx.lease/1", List: "leases", Value: "id"}
	case "user list":
		return output.Shape{Schema: "etcdx.user/1", List: "users", Value: "user"}
	case "role list":
		return output.Shape{Schema: "etcdx.role/1", List: "roles", Value: "role"}
	case "role get":
		return output.Shape{Schema: "etcdx.permission/1", List: "perm", Value: "key"}
	case "alarm list", "alarm disarm":
		return output.Shape{Schema: "etcdx.alarm/1", List: "alarms", Value: "member_id"}
	case "user get":
		return output.Shape{Schema: "etcdx.user/1", Value: "roles"}
	case "lease grant":
		return output.Shape{Schema: "etcdx.lease/1", Value: "id"}
	case "lease timetolive", "lease keep-alive":
		return output.Shape{Schema: "etcdx.lease/1", Value: "ttl"}
	default:
		return output.Shape{Schema: "etcdx." + strings.Join(words, "-") + "/1"}
	}
}

// drawsItself says whether etcdctl has a table of its own for a command.
func drawsItself(words []string) bool {
	return words[0] == "endpoint" || slices.Equal(words, []string{"member", "list"})
}

// convert returns what a command of etcdctl is to write to instead of out, and the format that it is to write: itself out, and
// the format asked for, where etcdctl knows the format. finish ends the output. A format that cannot show what the command
// answers is refused, before it has done anything.
func (g *globals) convert(words []string, out io.Writer) (to io.Writer, format output.Format, finish func() error, err error) {
	format = output.Format(g.settings.Output)
	finish = func() error { return nil }
	own := slices.Contains([]output.Format{output.JSONL, output.YAML, output.Value, output.Table}, format)
	switch {
	case !printsRecords(words) && own:
		return out, output.Simple, finish, nil // a sentence is one in every format, as in etcdctl
	case format == output.Table && drawsItself(words), !own && g.filter == nil:
		return out, format, finish, nil
	}
	shape := shapeOf(words)
	if !shape.Supports(format) {
		return nil, "", nil, g.badFormat(&output.FormatError{Format: format, Unsupported: true})
	}
	p, err := g.anyPrinter(output.Options{})
	if err != nil {
		return nil, "", nil, err
	}
	c := &converter{g: g, p: p, out: out, shape: shape, format: format}
	return c, output.JSON, c.finish, nil
}

// converter turns each line of etcdctl's JSON into records; what is no JSON it passes on.
type converter struct {
	g      *globals
	p      *output.Printer
	out    io.Writer
	shape  output.Shape
	format output.Format
	line   []byte // begun, but not ended yet
	some   bool   // whether a document was written
	err    error  // what went wrong, after which nothing more is taken
}

func (c *converter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		c.line, rest = append(c.line, part...), after
		if !ended {
			break
		}
		if c.err = c.convert(append(c.line, '\n')); c.err != nil {
			return 0, c.err
		}
		c.line = c.line[:0]
	}
	return len(p), nil
}

// finish writes what has no end of line, and returns what went wrong before.
func (c *converter) finish() error {
	if c.err != nil || len(c.line) == 0 {
		return c.err
	}
	return c.convert(c.line)
}

func (c *converter) convert(line []byte) error {
	if c.format == output.JSON { // a filter is given etcdctl's own JSON, if that is asked for
		return c.p.Raw(line)
	}
	sheet, err := c.shape.Sheet(line)
	if err != nil {
		if isTerminal(c.out) {
			line = []byte(output.Escape(string(line), false))
		}
		_, err := c.out.Write(line)
		return err
	}
	if c.some && c.format == output.YAML {
		if _, err := c.out.Write([]byte("---\n")); err != nil {
			return err
		}
	}
	c.some = true
	return c.p.Sheet(sheet)
}
