package yaml

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

type sample struct {
	Name    string        `yaml:"name"`
	Port    int           `yaml:"port"`
	Wait    time.Duration `yaml:"wait"`
	On      bool          `yaml:"on"`
	List    []string      `yaml:"list"`
	Nested  nested        `yaml:"nested"`
	Targets map[string]nested
}

type nested struct {
	Value string `yaml:"value"`
}

func TestDecodeSaysWhatAndWhere(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"name: a\nprot: 5\n", `f:2:1: unknown field "prot"`},
		{"nested:\n  valu: x\n", `f:2:3: unknown field "valu"`},
		{"name: a\nport: many\n", `f:2:7: "many" is not a number`},
		{"wait: soon\n", `f:1:7: "soon" is not a duration such as 5s`},
		{"on: perhaps\n", `f:1:5: "perhaps" is not true or false`},
		{"list: one\n", `f:1:7: "one" is not a list`},
		{"name: a\nname: b\n", `f:2:1: field "name" is already set in line 1`},
		{"name: [\n", `f:1: did not find expected node content`},
		{"name: a\n\tport: 1\n", `f:2: found a tab character that violates indentation`},
		{"name: a\n---\nname: b\n", `f:2:1: there is a second document`},
	} {
		var got sample
		err := Decode("f", []byte(c.in), &got)
		if e, ok := errors.AsType[*Error](err); !ok || e.Error() != c.want {
			t.Errorf("%q: got %v, want %s", c.in, err, c.want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample{Name: "a: b\n# c", Port: 7, Wait: 90 * time.Second, On: true, List: []string{"", "- x", "\x00"}, Nested: nested{"yes"}}
	text, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got sample
	if err := Decode("f", text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Targets = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v from\n%s", got, text)
	}
}

func TestEmptyDocumentsChangeNothing(t *testing.T) {
	for _, in := range []string{"", "\n", "# only a comment\n", "---\n"} {
		got := sample{Port: 5}
		if err := Decode("f", []byte(in), &got); err != nil || got.Port != 5 {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

func TestFromJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":18446744073709551615}`: "b: 1\na: 18446744073709551615\n",
		`{"a":"1","b":"true","c":null}`:    "a: \"1\"\nb: \"true\"\nc: null\n",
		`["a\nb",[]]`:                      "- |-\n  a\n  b\n- []\n",
		"{\"a\":\"\x7f\u0085\ufffe\"}":     "a: \"\\x7F\\N\\uFFFE\"\n",
	} {
		if got, err := FromJSON([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}
