package checkpoint

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestHorizonsAreFewAndOfOneCluster(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	var h Horizons
	for i := range int64(100) {
		h.Add(7, i/2*10, at(i))
	}
	if len(h.Seen) != keepHorizons || h.Seen[keepHorizons-1] != (Horizon{490, at(98), at(99)}) {
		t.Errorf("%+v", h)
	}
	h.Add(7, 500, at(50)) // a clock that was set back
	if h.Seen[len(h.Seen)-1].Rev != 490 {
		t.Errorf("an observation from before the last one counted: %+v", h)
	}
	h.Add(7, 480, at(200)) // a cluster that was restored
	if !reflect.DeepEqual(h.Seen, []Horizon{{480, at(200), at(200)}}) {
		t.Errorf("%+v", h)
	}
	h.Add(8, 1000, at(300))
	if !reflect.DeepEqual(h, Horizons{ClusterID: 8, Seen: []Horizon{{1000, at(300), at(300)}}}) {
		t.Errorf("%+v", h)
	}
}

func TestHorizonsFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "x.horizons")
	if h := ReadHorizons(p); len(h.Seen) != 0 {
		t.Errorf("%+v", h)
	}
	h := ReadHorizons(p)
	h.Add(7, 10, time.Unix(5, 0))
	if err := WriteHorizons(p, h); err != nil {
		t.Fatal(err)
	}
	if again := ReadHorizons(p); !reflect.DeepEqual(again, h) {
		t.Errorf("%+v, want %+v", again, h)
	}
	for _, bad := range []string{"", "{", `{"v":9,"seen":[{"rev":1}]}`} {
		if err := os.WriteFile(p, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if h := ReadHorizons(p); len(h.Seen) != 0 {
			t.Errorf("%q was believed: %+v", bad, h)
		}
	}
	if err := WriteHorizons(filepath.Join(p, "no", "dir"), h); err == nil {
		t.Error("a directory that does not exist was written to")
	}
}
