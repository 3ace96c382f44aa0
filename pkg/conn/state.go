package conn

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// stateLimit bounds what is read of a state file: it holds a line per endpoint.
const stateLimit = 64 << 10

// state is the file that keeps verdicts across processes: for each set of endpoints, those which are set aside. Nothing in it
// is needed: whatever is wrong with it, it counts as empty.
type state struct {
	Version  int                       `json:"version"`
	Clusters map[string]map[string]bad `json:"clusters"` // by set of endpoints, then by endpoint
}

type bad struct {
	At     time.Time `json:"failed_at"`
	Reason Reason    `json:"reason"`
}

// stateVersion is that of the format. Files of another version are left alone.
const stateVersion = 1

// stateKey names a set of endpoints, whatever their order, so that clusters which share one do not mix.
func stateKey(r *roster) string {
	var all []string
	for _, e := range r.entries {
		all = append(all, e.endpoint)
	}
	slices.Sort(all)
	b, _ := json.Marshal(all) // strings always marshal
	return string(b)
}

func readState(file string) (state, bool) {
	// Looked at before it is opened: opening a pipe that somebody has put there would wait for its other end.
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return state{Version: stateVersion}, os.IsNotExist(err)
	}
	f, err := os.Open(file)
	if err != nil {
		return state{Version: stateVersion}, os.IsNotExist(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > stateLimit {
		return state{}, false
	}
	b := make([]byte, info.Size())
	n, _ := f.Read(b)
	var s state
	if json.Unmarshal(b[:n], &s) != nil {
		return state{Version: stateVersion}, true // broken: it will be replaced
	}
	return s, s.Version == stateVersion
}

// loadState tells the roster what earlier processes learnt.
func loadState(file string, now time.Time, r *roster) {
	if file == "" || len(r.entries) < 2 {
		return
	}
	s, ok := readState(file)
	if !ok {
		return
	}
	verdicts := s.Clusters[stateKey(r)]
	for i, e := range r.entries {
		if b, found := verdicts[e.endpoint]; found && now.Sub(b.At) >= 0 && now.Sub(b.At) < r.retryAfter {
			r.failedAt(i, b.At, b.Reason)
		}
	}
}

// Aside is an endpoint that failed in this or an earlier process, and is tried after all others until Until.
type Aside struct {
	Endpoint      string
	Failed, Until time.Time
	Reason        Reason
}

// SetAside returns the endpoints of o that are set aside at that time by what is in o.StateFile.
func SetAside(o Options, now time.Time) []Aside {
	if o.RetryAfter <= 0 {
		o.RetryAfter = defaultRetryAfter
	}
	r := newRoster(o.Endpoints, o.RetryAfter)
	loadState(o.StateFile, now, r)
	var all []Aside
	for i, e := range r.entries {
		if r.aside(i, now) {
			all = append(all, Aside{Endpoint: e.endpoint, Failed: e.failed, Until: e.failed.Add(r.retryAfter), Reason: e.reason})
		}
	}
	return all
}

// saveState writes down which endpoints are set aside, and drops what is out of date. Two processes that write at once
// leave the file of either: the other's verdict is found again in the next call that needs it.
func saveState(file string, now time.Time, r *roster) {
	if file == "" || len(r.entries) < 2 {
		return
	}
	s, ok := readState(file)
	if !ok {
		return
	}
	if s.Clusters == nil {
		s.Clusters = map[string]map[string]bad{}
	}
	for key, verdicts := range s.Clusters {
		for e, b := range verdicts {
			if age := now.Sub(b.At); age < 0 || age > time.Hour {
				delete(verdicts, e)
			}
		}
		if len(verdicts) == 0 {
			delete(s.Clusters, key)
		}
	}
	mine := map[string]bad{}
	for i, e := range r.entries {
		if r.aside(i, now) {
			mine[e.endpoint] = bad{At: e.failed, Reason: e.reason}
		}
	}
	s.Clusters[stateKey(r)] = mine
	replaceFile(file, s)
}

// replaceFile writes s in one step. It is not synced: after a crash of the machine an empty file does no harm.
func replaceFile(file string, s state) {
	b, err := json.Marshal(s)
	if err != nil {
		return
	}
	dir := filepath.Dir(file)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(dir, ".endpoints-*")
	if err != nil {
		return
	}
	_, err = tmp.Write(b)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
}
