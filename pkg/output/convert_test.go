package output

import (
	"bytes"
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	list := Shape{Schema: "s/1", List: "members", Value: "id"}
	one := Shape{Schema: "s/1", Value: "id"}
	const two = `{"header":{"cluster_id":14841639068965178418,"raft_term":2},"members":[` +
		`{"ID":10276657743932975437,"name":"m1","peerURLs":["http://a:1","http://b:1"],"isLearner":true},{"ID":1,"name":"m2"}]}` + "\n"
	const status = `[{"Endpoint":"a:1","Status":{"header":{"cluster_id":255,"member_id":16},"dbSizeInUse":20480,"leader":16}}]`
	const role = `{"header":{},"perm":[{"key":"a2V5","range_end":"/w=="},{"permType":2,"key":"aw=="}]}`
	for _, c := range []struct {
		name, in, want string
		shape          Shape
		format         Format
	}{
		{"a line each, with IDs as commands take them", two, `{"schema":"s/1","id":"8e9e05c52164694d","name":"m1","peer_urls":["http://a:1","http://b:1"],"is_learner":true}` +
			"\n" + `{"schema":"s/1","id":"1","name":"m2"}` + "\n", list, JSONL},
		{"a list", two, "- schema: s/1\n  id: 8e9e05c52164694d\n  name: m1\n  peer_urls:\n    - http://a:1\n    - http://b:1\n  is_learner: true\n- schema: s/1\n  id: \"1\"\n  name: m2\n", list, YAML},
		{"IDs only", two, "8e9e05c52164694d\n1\n", list, Value},
		{"a table", two, "ID                NAME  PEER URLS              IS LEARNER\n8e9e05c52164694d  m1    http://a:1,http://b:1  true\n1                 m2    -                      -\n", list, Table},
		{"nothing", `{"header":{}}`, "", list, JSONL},
		{"nothing in a list", `{"header":{}}`, "[]\n", list, YAML},
		{"no endpoints", "null", "", one, JSONL},
		{"endpoints", status, `{"schema":"s/1","endpoint":"a:1","cluster_id":"ff","member_id":"10","db_size_in_use":20480,"leader":"10"}` + "\n", one, JSONL},
		{"permissions", role, `{"schema":"s/1","perm_type":"read","key":"key","range_end":"�","range_end_b64":"/w=="}` + "\n" + `{"schema":"s/1","perm_type":"readwrite","key":"k"}` + "\n", Shape{Schema: "s/1", List: "perm", Value: "key"}, JSONL},
		{"names", `{"users":["root","u"]}`, `{"schema":"s/1","user":"root"}` + "\n" + `{"schema":"s/1","user":"u"}` + "\n", Shape{Schema: "s/1", List: "users", Value: "user"}, JSONL},
		{"several values", `{"roles":["r","s"]}`, "r\ns\n", Shape{Schema: "s/1", Value: "roles"}, Value},
		{"a lease", `{"cluster_id":1,"id":-2,"granted-ttl":60,"keys":["YQ=="]}`, `{"schema":"s/1","cluster_id":"1","id":"fffffffffffffffe","granted_ttl":60,"keys":["a"]}` + "\n", one, JSONL},
		{
			"a transaction", `{"header":{"revision":3},"responses":[{"Response":{"response_range":{"kvs":[{"key":"YQ==","value":"PA==","lease":17}]}}}]}`,
			`{"schema":"s/1","revision":3,"responses":[{"response_range":{"kvs":[{"key":"a","value":"<","lease":"11"}]}}]}` + "\n", one, JSONL,
		},
		{"one", `{"a":1}`, "schema: s/1\na: 1\n", one, YAML},
	} {
		sheet, err := c.shape.Sheet([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := sheetText(t, Options{Format: c.format}, sheet); got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.name, got, c.want)
		}
	}
	for _, text := range []string{"OK\n", "1 2", "{"} {
		if _, err := one.Sheet([]byte(text)); err == nil {
			t.Errorf("%q is no answer in JSON", text)
		}
	}
}

func sheetText(t *testing.T, o Options, s Sheet) string {
	t.Helper()
	var b bytes.Buffer
	p, err := New(&b, o)
	if err == nil {
		err = p.Sheet(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What is in a record cannot break a line of the table, or reach a terminal raw.
func TestSheetIsSafe(t *testing.T) {
	type record struct {
		Name string `json:"name"`
	}
	const name = "a\nb\t\x1b[31m\u009b"
	s := Sheet{Records: []any{record{name}}, Values: []string{name}, Simple: name + "\n"}
	for format, want := range map[Format]string{
		Simple: `a` + "\n" + `b` + "\t" + `\x1b[31m\u009b` + "\n",
		Table:  "NAME\n" + `a\x0ab\x09\x1b[31m\u009b` + "\n",
		Value:  `a\x0ab\x09\x1b[31m\u009b` + "\n",
		JSONL:  `{"name":"a\nb\t\u001b[31m\u009b"}` + "\n",
	} {
		if got := sheetText(t, Options{Format: format, Terminal: true}, s); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
	p, err := New(&bytes.Buffer{}, Options{Format: Protobuf})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Sheet(s); err == nil {
		t.Error("records have no protobuf")
	}
}

// Converting etcdctl's JSON fails, or gives records that can be read again.
func FuzzConvert(f *testing.F) {
	f.Add([]byte(`{"header":{"revision":9007199254740993},"kvs":[{"key":"aw==","value":"/w=="}]}`))
	f.Add([]byte(`{"a":1}{"a":`))
	f.Add([]byte("null\n[]"))
	f.Add([]byte(`{"perm":[{"key":"aw=="},{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, shape := range []Shape{{Schema: "s/1"}, {Schema: "s/1", List: "perm", Value: "key"}} {
			sheet, err := shape.Sheet(text)
			if err != nil {
				return
			}
			for _, format := range []Format{JSONL, YAML, Value, Table} {
				out := sheetText(t, Options{Format: format}, sheet)
				for line := range strings.Lines(out) {
					if _, err := parse([]byte(line)); format == JSONL && err != nil {
						t.Errorf("%s became %s: %v", text, out, err)
					}
				}
			}
		}
	})
}
