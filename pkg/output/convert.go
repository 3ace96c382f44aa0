package output

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/etcdx/etcdx/pkg/yaml"
)

// Convert turns what etcdctl prints with -w json, one document or several, into f: JSONL or YAML. Keys and values become readable:
// what is UTF-8 is text, the rest stays base64 under the name with _b64. Integers keep all their digits.
func Convert(f Format, etcdctlJSON []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(etcdctlJSON))
	dec.UseNumber()
	var out bytes.Buffer
	for n := 0; ; n++ {
		var v any
		if err := dec.Decode(&v); err == io.EOF {
			return out.Bytes(), nil
		} else if err != nil {
			return nil, err
		}
		v = readable(v)
		if f == YAML {
			text, err := yaml.Marshal(v)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				out.WriteString("---\n")
			}
			out.Write(text)
			continue
		}
		enc := json.NewEncoder(&out) // ends each document with a newline
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return nil, err
		}
	}
}

// readable decodes the fields that etcd's JSON has in base64, and numbers.
func readable(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = readable(v[i])
		}
	case map[string]any:
		for name, field := range v {
			text, ok := field.(string)
			if !ok || !inBase64(name) {
				v[name] = readable(field)
				continue
			}
			if b, err := base64.StdEncoding.DecodeString(text); err == nil && utf8.Valid(b) {
				v[name] = string(b)
			} else if err == nil {
				delete(v, name)
				v[name+"_b64"] = text
			}
		}
	case json.Number:
		// Signed first: IDs of leases may be negative, those of members need all 64 bits.
		if n, err := v.Int64(); err == nil {
			return n
		}
		var u uint64
		if json.Unmarshal([]byte(v), &u) == nil {
			return u
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

// inBase64 says whether etcd's JSON has a field of that name as bytes.
func inBase64(name string) bool {
	switch strings.ToLower(name) {
	case "key", "range_end", "value", "keys":
		return true
	}
	return false
}
