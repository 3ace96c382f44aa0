package output

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/fatih/color"
)

// Style colours words on one stream. The zero value leaves all as it is.
type Style struct{ on bool }

// ColorWhen says when to colour: always, never, or, by default, when people look.
type ColorWhen string

// The values of --color.
const (
	ColorAuto   ColorWhen = "auto"
	ColorAlways ColorWhen = "always"
	ColorNever  ColorWhen = "never"
)

// NewStyle decides for one stream; terminal says whether that stream is one, and env returns a variable of the environment.
// In this order: when, unless auto; NO_COLOR; CLICOLOR_FORCE and FORCE_COLOR; CLICOLOR=0; a TERM that is missing or "dumb",
// as under cron and in test suites that give a program a terminal; and then whether the stream is a terminal.
func NewStyle(when ColorWhen, terminal bool, env func(string) (string, bool)) Style {
	get := func(name string) string { v, _ := env(name); return v }
	set := func(name string) bool { v := get(name); return v != "" && v != "0" }
	term := get("TERM")
	switch {
	case when == ColorAlways, when == ColorNever:
		return Style{on: when == ColorAlways}
	case get("NO_COLOR") != "":
		return Style{}
	case set("CLICOLOR_FORCE"), set("FORCE_COLOR"):
		return Style{on: true}
	case get("CLICOLOR") == "0", term == "", term == "dumb":
		return Style{}
	}
	return Style{on: terminal}
}

// Paint returns text in the given attributes, or as it is.
func (s Style) Paint(text string, attrs ...color.Attribute) string {
	if !s.on {
		return text
	}
	c := color.New(attrs...)
	c.EnableColor() // color's own idea of it knows only standard output
	return c.Sprint(text)
}

func (s Style) key(b, text []byte) []byte {
	if !s.on {
		return append(b, text...)
	}
	return append(b, s.Paint(string(text), color.FgCyan)...)
}

func (s Style) good(b []byte, word string) []byte { return append(b, s.Paint(word, color.FgGreen)...) }

func (s Style) bad(b []byte, word string) []byte { return append(b, s.Paint(word, color.FgRed)...) }

// Escape returns text as it may be shown on a terminal; see Options.Terminal.
func Escape(text string, oneLine bool) string { return string(escape([]byte(text), oneLine)) }

// escape writes what a terminal might obey, and what is not UTF-8, as \xNN or \uNNNN: control characters, and the marks
// that turn the direction of writing, which can make a text look like another one. Newlines and tabs stay unless oneLine.
func escape(s []byte, oneLine bool) []byte {
	clean := true
	for _, c := range s {
		if c < 0x20 || c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == utf8.RuneError && n == 1, r < 0x20 && !plainControl(r, oneLine), r == 0x7f:
			b = append(b, '\\', 'x', hexDigits[s[0]>>4], hexDigits[s[0]&15])
		case r >= 0x80 && r < 0xa0, turnsDirection(r):
			q := strconv.QuoteRuneToASCII(r)
			b = append(b, q[1:len(q)-1]...)
		default:
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return b
}

// visible escapes what JSON and YAML leave as it is in b behind the first n bytes, and a terminal might obey. In JSON the
// result means the same.
func (o Options) visible(b []byte, n int) []byte {
	if !o.Terminal {
		return b
	}
	return append(b[:n], EscapeJSON(b[n:])...)
}

// EscapeJSON returns JSON that means the same as text, and holds nothing that a terminal might obey.
func EscapeJSON(text []byte) []byte {
	b := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		if r >= 0x7f && r < 0xa0 || turnsDirection(r) {
			b = fmt.Appendf(b, "\\u%04x", r)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

const hexDigits = "0123456789abcdef"

func plainControl(r rune, oneLine bool) bool { return !oneLine && (r == '\n' || r == '\t') }

// turnsDirection says whether r is one of Unicode's bidirectional controls.
func turnsDirection(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}
