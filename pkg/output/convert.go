package output

// Shape says how what a command of etcdctl prints with -w json becomes records.
type Shape struct {
	// Schema names the records.
	Schema string
	// List is the member of an answer whose elements are the records, by its name in records; empty: an answer is a record,
	// or a list of them.
	List string
	// Value is the member that the format value prints; empty: that format has no use.
	Value string
}

// Supports says whether the records can be shown in a format.
func (s Shape) Supports(f Format) bool {
	return f != Value || s.Value != ""
}

// Sheet returns the records in one answer of etcdctl's in JSON. It returns an error for what is no JSON.
func (s Shape) Sheet(answer []byte) (Sheet, error) {
	v, err := parse(answer)
	if err != nil {
		return Sheet{}, err
	}
	out := Sheet{One: true}
	list := []any{v}
	switch v := readable(v).(type) {
	case nil: // what etcdctl prints of no endpoints
		return Sheet{}, nil
	case []any:
		out.One, list = false, v
	case members:
		list = []any{v}
		if s.List != "" {
			out.One = false
			list, _ = v.get(s.List).([]any)
		}
	}
	for _, item := range list {
		m, ok := item.(members)
		if !ok { // the names of users and roles
			m = members{{s.Value, item}}
		}
		out.Records = append(out.Records, append(members{{"schema", s.Schema}}, m...))
		if values, ok := m.get(s.Value).([]any); ok {
			for _, v := range values {
				out.Values = append(out.Values, cellOf(v))
			}
			continue
		}
		out.Values = append(out.Values, cellOf(m.get(s.Value)))
	}
	return out, nil
}
