package output

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// members is a JSON object whose members keep their order.
type members []member

type member struct {
	name  string
	value any // string, json.Number, bool, nil, []any or members
}

// MarshalJSON writes the members in their order.
func (m members) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range m {
		if i > 0 {
			b = append(b, ',')
		}
		for _, v := range []any{f.name, f.value} {
			text, err := marshal(v)
			if err != nil {
				return nil, err
			}
			b = append(append(b, text...), ':')
		}
		b = b[:len(b)-1]
	}
	return append(b, '}'), nil
}

// marshal is json.Marshal, with "<" as people write it.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

func (m members) get(name string) any {
	for _, f := range m {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// parse reads one JSON document, which must be all there is.
func parse(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := parseNext(dec)
	if err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("more than one JSON document")
	}
	return v, nil
}

func parseNext(dec *json.Decoder) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := parseNext(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	case json.Delim('{'):
		m := members{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseNext(dec)
			if err != nil {
				return nil, err
			}
			m = append(m, member{name.(string), v})
		}
		_, err := dec.Token()
		return m, err
	}
	return t, nil
}

// readable makes of etcdctl's JSON what people and other commands read: names as in all records, keys and values as text,
// IDs as the commands take them, in hexadecimal, and words for the numbers that stand for words.
func readable(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = readable(v[i])
		}
	case members:
		out := make(members, 0, len(v))
		for _, f := range v {
			out = append(out, readableMember(snake(f.name), f.value)...)
		}
		return out
	}
	return v
}

// readableMember returns what one member becomes.
func readableMember(name string, v any) []member {
	number, isNumber := v.(json.Number)
	text, isText := v.(string)
	list, isList := v.([]any)
	inner, isObject := v.(members)
	switch {
	case name == "header" && isObject, name == "status" && isObject, name == "hash_kv" && isObject, name == "response" && isObject:
		return readable(inner).(members) // one level less to look through
	case isText && slices.Contains([]string{"key", "range_end", "value"}, name):
		return textMember(name, text)
	case isList && name == "perm":
		for i := range list {
			if m, ok := list[i].(members); ok && m.get("permType") == nil {
				// JSON leaves out the first type as the zero that it is.
				list[i] = append(members{{"permType", json.Number("0")}}, m...)
			}
		}
		return []member{{name, readable(list)}}
	case isList && name == "keys":
		for i := range list {
			if text, ok := list[i].(string); ok {
				list[i] = textMember(name, text)[0].value
			}
		}
		return []member{{name, list}}
	case isNumber && slices.Contains([]string{"id", "cluster_id", "member_id", "leader", "lease"}, name):
		return []member{{name, hexID(number)}}
	case isNumber && name == "perm_type":
		return []member{{name, word(number, "read", "write", "readwrite")}}
	case isNumber && name == "alarm":
		return []member{{name, word(number, "none", "nospace", "corrupt")}}
	}
	return []member{{name, readable(v)}}
}

// textMember decodes bytes; those that are no UTF-8 are there in base64 as well.
func textMember(name, b64 string) []member {
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return []member{{name, b64}}
	}
	text, exact := Text(b)
	if exact == "" {
		return []member{{name, text}}
	}
	return []member{{name, text}, {name + "_b64", exact}}
}

// hexID writes an ID as commands take it. IDs of leases are signed in JSON, those of members are not.
func hexID(n json.Number) any {
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return strconv.FormatUint(u, 16)
	}
	if i, err := n.Int64(); err == nil {
		return strconv.FormatUint(uint64(i), 16)
	}
	return n
}

// word returns the word that a number stands for; a number that is newer than this program stays one.
func word(n json.Number, words ...string) any {
	if i, err := n.Int64(); err == nil && i >= 0 && i < int64(len(words)) {
		return words[i]
	}
	return n
}

// snake writes a name as records do: "dbSizeInUse" and "granted-ttl" are db_size_in_use and granted_ttl.
func snake(name string) string {
	var b strings.Builder
	last := ' '
	for _, r := range name {
		switch {
		case r == '-':
			r = '_'
		case unicode.IsUpper(r) && (unicode.IsLower(last) || unicode.IsDigit(last)):
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		last = r
	}
	return b.String()
}

// cellOf writes a value into a cell of a table.
func cellOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = cellOf(v[i])
		}
		return strings.Join(parts, ",")
	}
	text, err := marshal(v)
	if err != nil || !utf8.Valid(text) {
		return ""
	}
	return string(text)
}
