package output

import "testing"

func TestConvert(t *testing.T) {
	const members = `{"header":{"cluster_id":14841639068965178418,"raft_term":2},"members":[{"ID":10276657743932975437,"name":"m1"}]}` + "\n"
	const role = `{"perm":[{"permType":2,"key":"a2V5","range_end":"/w=="}]}` + "\n"
	for _, c := range []struct {
		format   Format
		in, want string
	}{
		{JSONL, members, members},
		{YAML, members, "header:\n  cluster_id: 14841639068965178418\n  raft_term: 2\nmembers:\n  - ID: 10276657743932975437\n    name: m1\n"},
		{JSONL, role, `{"perm":[{"key":"key","permType":2,"range_end_b64":"/w=="}]}` + "\n"},
		{YAML, `{"a":1}` + "\n" + `{"a":-2}`, "a: 1\n---\na: -2\n"},
		{JSONL, `{"value":"PA=="}`, `{"value":"<"}` + "\n"},
		{JSONL, "", ""},
	} {
		got, err := Convert(c.format, []byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %s\n got %q, %v\nwant %q", c.format, c.in, got, err, c.want)
		}
	}
	if _, err := Convert(JSONL, []byte("OK\n")); err == nil {
		t.Error("text is no JSON")
	}
}

// Converting etcdctl's JSON fails or gives one document for each.
func FuzzConvert(f *testing.F) {
	f.Add([]byte(`{"header":{"revision":9007199254740993},"kvs":[{"key":"aw==","value":"/w=="}]}`))
	f.Add([]byte(`{"a":1}{"a":`))
	f.Add([]byte("null\n[]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, format := range []Format{JSONL, YAML} {
			out, err := Convert(format, text)
			if err == nil && format == JSONL {
				if _, err := Convert(JSONL, out); err != nil {
					t.Errorf("%s became %s: %v", text, out, err)
				}
			}
		}
	})
}
