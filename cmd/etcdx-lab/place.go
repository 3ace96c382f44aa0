package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/gofrs/flock"
)

// place is where a running lab can be found by its name: files that last as long as the lab does.
type place struct{ name, dir string }

// record is what the others need to know of a running lab.
type record struct {
	Name string `json:"name"`
	Pid  int    `json:"pid"`
	// URL and Token lead to the process that runs the lab.
	URL   string `json:"url"`
	Token string `json:"token"`
	// Env are the settings that lead etcdctl and etcdx to the cluster.
	Env []setting `json:"env"`
}

// setting is an environment variable.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

var errNotUp = errors.New("it is not up")

func nameRule() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`) }

// findPlace returns the place of the lab called name. Labs are gone after a reboot, so it looks for a runtime directory first.
func findPlace(name string) (place, error) {
	if !nameRule().MatchString(name) {
		return place{}, fmt.Errorf("%q is no name for a lab: letters, digits, '.', '_' and '-'", name)
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return place{}, err
		}
	}
	return place{name: name, dir: filepath.Join(base, "etcdx-lab")}, nil
}

func (p place) file(ending string) string { return filepath.Join(p.dir, p.name+ending) }

// claim makes the place this process's own until release is called.
func (p place) claim() (release func(), err error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(p.file(".lock"))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("lab %q is up already", p.name)
	}
	return func() {
		p.clear()
		_ = lock.Unlock()
		// Only an empty directory goes.
		_ = os.Remove(p.dir)
	}, nil
}

// clear removes the lab's files.
func (p place) clear() {
	for _, ending := range []string{".json", ".log", ".lock"} {
		_ = os.Remove(p.file(ending))
	}
}

// save writes r so that a reader sees all of it or nothing.
func (p place) save(r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	half := p.file(".tmp")
	if err := os.WriteFile(half, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(half, p.file(".json"))
}

// load returns the record, or an error wrapping errNotUp.
func (p place) load() (record, error) {
	var r record
	data, err := os.ReadFile(p.file(".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("lab %q: %w", p.name, errNotUp)
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}
