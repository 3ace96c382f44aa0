package output

import (
	"bytes"
	"testing"
)

func TestTerminalWriterHoldsBackPartsOfCharacters(t *testing.T) {
	for _, c := range []struct {
		writes []string
		want   string
	}{
		{[]string{"plain\n"}, "plain\n"},
		{[]string{"\x1b[31m"}, `\x1b[31m`},
		{[]string{"a\xc2", "\x9bz"}, `a\u009bz`}, // C1 in two writes
		{[]string{"\xe2", "\x80", "\xae"}, `\u202e`},
		{[]string{"\xe4\xb8", "\x96"}, "\xe4\xb8\x96"},
		{[]string{"x\xff", "y"}, `x\xffy`},
		{[]string{"end\xe2\x80"}, `end\xe2\x80`},
		{[]string{"\x80\x80\x80\x80\x80"}, `\x80\x80\x80\x80\x80`},
	} {
		var out bytes.Buffer
		w := NewTerminalWriter(&out)
		for _, p := range c.writes {
			if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatalf("wrote %d of %q: %v", n, p, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("%q: %q, want %q", c.writes, out.String(), c.want)
		}
	}
}

// However a text is cut, what comes out is what escaping it as a whole gives.
func FuzzTerminalWriter(f *testing.F) {
	f.Add([]byte("a\xc2\x9b\xe2\x80\xae\xf0\x9f\x98\x80\xff"), 3)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		if at < 0 || at > len(text) {
			return
		}
		var out bytes.Buffer
		w := NewTerminalWriter(&out)
		_, _ = w.Write(text[:at])
		_, _ = w.Write(text[at:])
		_ = w.Close()
		if want := Escape(string(text), false); out.String() != want {
			t.Errorf("%q cut at %d: %q, want %q", text, at, out.String(), want)
		}
	})
}
