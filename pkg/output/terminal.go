package output

import (
	"io"
	"unicode/utf8"
)

// TerminalWriter passes on what another program writes, with what a terminal might obey escaped as Escape does. Newlines
// and tabs stay.
type TerminalWriter struct {
	out  io.Writer
	part []byte // the beginning of a character whose rest has not come yet
}

// NewTerminalWriter returns a writer that escapes on the way to out.
func NewTerminalWriter(out io.Writer) *TerminalWriter { return &TerminalWriter{out: out} }

// Write writes p but for a last character that is not whole; the next call or Close writes that.
func (w *TerminalWriter) Write(p []byte) (int, error) {
	all := append(w.part, p...)
	whole := len(all) - unfinished(all)
	w.part = append([]byte(nil), all[whole:]...)
	if whole == 0 {
		return len(p), nil
	}
	if _, err := w.out.Write(escape(all[:whole], false)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what never became a whole character. It leaves out open.
func (w *TerminalWriter) Close() error {
	rest := w.part
	w.part = nil
	if len(rest) == 0 {
		return nil
	}
	_, err := w.out.Write(escape(rest, false))
	return err
}

// unfinished returns how many bytes at the end of b begin a character without ending it.
func unfinished(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
