package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const path = "/state/orders.checkpoint"

func state(rev int64) State {
	return State{ClusterID: 7, Rev: rev, Phase: "live", Spec: []byte(`{"key":"a"}`)}
}

// run is a process that creates the checkpoint if need be and moves it on. It returns what it knows for certain: the last
// revision that Put accepted, and the last that Sync made durable.
func run(d *faultyDisk, from, to int64) (put, synced int64, err error) {
	f, err := Open(d, path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = Create(d, path, state(from))
	}
	if err != nil {
		return 0, 0, err
	}
	put, synced = f.State().Rev, f.State().Rev
	for rev := from + 1; rev <= to; rev++ {
		if err := f.Put(state(rev)); err != nil {
			return put, synced, err
		}
		put = rev
		if rev%3 == 0 {
			if err := f.Sync(); err != nil {
				return put, synced, err
			}
			synced = rev
		}
	}
	return put, synced, f.Close()
}

// TestKilledAtEveryCall ends the process at every one of its calls to the disk, once as by SIGKILL and once as by a loss
// of power, with the write in progress torn anywhere. The next process finds a checkpoint that is not older than what was
// certain, nor newer than what was handled.
func TestKilledAtEveryCall(t *testing.T) {
	whole := newDisk()
	if _, _, err := run(whole, 1, 40); err != nil {
		t.Fatal(err)
	}
	if whole.calls < 50 {
		t.Fatalf("only %d calls to kill at", whole.calls)
	}
	for at := range whole.calls {
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, uint64(at)))
			d := newDisk()
			d.left, d.err, d.torn = at, errKilled, r
			put, synced, err := run(d, 1, 40)
			if err == nil {
				t.Fatalf("call %d: not killed", at)
			}
			power := seed%2 == 1
			after := d.reboot(power, r)
			s, err := Read(after, path)
			least := put
			if power {
				least = synced
			}
			switch {
			case errors.Is(err, fs.ErrNotExist) && least == 0:
			case err != nil:
				t.Fatalf("killed at call %d (power lost: %v): %v", at, power, err)
			case s.Rev < least || s.Rev > put+1:
				t.Fatalf("killed at call %d (power lost: %v): revision %d, want %d to %d", at, power, s.Rev, least, put+1)
			}
			if _, _, err := run(after, max(s.Rev, 1), 60); err != nil {
				t.Fatalf("killed at call %d: the next process: %v", at, err)
			}
			if s, err := Read(after, path); err != nil || s.Rev != 60 {
				t.Fatalf("killed at call %d: then %d, %v", at, s.Rev, err)
			}
		}
	}
}

// TestErrorAtEveryCall lets every call fail once, as a full disk, a read-only file system or a dying disk do. Put and Sync
// either say so, or have done their work; what was certain before stays.
func TestErrorAtEveryCall(t *testing.T) {
	whole := newDisk()
	if _, _, err := run(whole, 1, 12); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		for at := range whole.calls {
			d := newDisk()
			d.left, d.err = at, fault
			put, synced, err := run(d, 1, 12)
			if err != nil && !errors.Is(err, fault) {
				t.Fatalf("%v at call %d: %v", fault, at, err)
			}
			if err == nil {
				put, synced = 12, 12
			}
			s, readErr := Read(d.reboot(true, rand.New(rand.NewPCG(1, 1))), path)
			if errors.Is(readErr, fs.ErrNotExist) && synced == 0 {
				continue
			}
			if readErr != nil || s.Rev < synced || s.Rev > put+1 {
				t.Fatalf("%v at call %d: revision %d, want %d to %d: %v", fault, at, s.Rev, synced, put, readErr)
			}
			for name := range d.files {
				if err == nil && strings.HasSuffix(name, ".tmp") {
					t.Errorf("%v at call %d: %s is left", fault, at, name)
				}
			}
		}
	}
}

func TestFailedSyncIsNotBelieved(t *testing.T) {
	d := newDisk()
	f, err := Create(d, path, state(1))
	if err != nil {
		t.Fatal(err)
	}
	old := d.files[path]
	if err := f.Put(state(2)); err != nil {
		t.Fatal(err)
	}
	d.left, d.err = 0, syscall.EIO
	if err := f.Sync(); err != nil {
		t.Fatalf("a new file could take over: %v", err)
	}
	if d.files[path] == old {
		t.Error("the file whose fsync failed is still in use")
	}
	if s, err := Read(d.reboot(true, rand.New(rand.NewPCG(1, 1))), path); err != nil || s.Rev != 2 {
		t.Errorf("revision %d, %v", s.Rev, err)
	}
}

func TestDamage(t *testing.T) {
	make := func() *faultyDisk {
		d := newDisk()
		if _, _, err := run(d, 1, 7); err != nil {
			t.Fatal(err)
		}
		return d
	}
	zero := func(b []byte) {
		for i := range b {
			b[i] = 0
		}
	}
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		rev    int64 // 0: corrupt
	}{
		{"first slot zero", func(b []byte) []byte { zero(b[4096:8192]); return b }, -1},
		{"second slot zero", func(b []byte) []byte { zero(b[8192:12288]); return b }, -1},
		{"third slot zero", func(b []byte) []byte { zero(b[12288:]); return b }, -1},
		{"all slots zero", func(b []byte) []byte { zero(b[4096:]); return b }, 0},
		{"all zero", func(b []byte) []byte { zero(b); return b }, 0},
		{"empty", func([]byte) []byte { return nil }, 0},
		{"cut after the first slot", func(b []byte) []byte { return b[:8192] }, -1},
		{"another file", func([]byte) []byte { return []byte("hello\n") }, 0},
		{"a bit in every slot", func(b []byte) []byte { b[4106] ^= 1; b[8202] ^= 1; b[12298] ^= 1; return b }, 0},
	} {
		d := make()
		d.files[path].data = c.damage(d.files[path].data)
		before := slices.Clone(d.files[path].data)
		s, err := Read(d, path)
		_, corrupt := errors.AsType[*CorruptError](err)
		switch {
		case c.rev == 0 && !corrupt:
			t.Errorf("%s: %v", c.name, err)
		case c.rev == -1 && (err != nil || s.Rev != 7 && s.Rev != 6 && s.Rev != 5):
			t.Errorf("%s: revision %d, %v", c.name, s.Rev, err)
		}
		if _, err := Open(d, path); c.rev == 0 && err == nil {
			t.Errorf("%s: opened", c.name)
		}
		if !slices.Equal(before, d.files[path].data) {
			t.Errorf("%s: reading changed the file", c.name)
		}
		if _, err := Create(d, path, state(1)); err == nil {
			t.Errorf("%s: a new checkpoint took the place of a damaged one", c.name)
		}
	}
}

func TestFormats(t *testing.T) {
	d := newDisk()
	if _, _, err := run(d, 1, 7); err != nil {
		t.Fatal(err)
	}
	newer := slices.Clone(d.files[path].data)
	copy(newer, []byte("etcdx-checkpoint 9"))
	d.files["/new"] = &content{data: newer}
	if _, err := Open(d, "/new"); !is[*NewerError](err) {
		t.Errorf("a newer head: %v", err)
	}
	// A field that a later version added survives the rewriting by this one.
	f, err := Open(d, path)
	if err != nil {
		t.Fatal(err)
	}
	s := f.State()
	if err := s.UnmarshalJSON([]byte(`{"v":1,"seq":100,"rev":8,"spec":{},"colour":"red"}`)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Put(s), f.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(d.files[path].data), `"colour":"red"`) {
		t.Error("an unknown field was dropped")
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestTwoProcesses(t *testing.T) {
	p := filepath.Join(t.TempDir(), "c")
	s := state(1)
	s.Writer = Writer{Host: "here", PID: 4711}
	f, err := Create(OS{}, p, s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(OS{}, p)
	if e, ok := errors.AsType[*InUseError](err); !ok || e.Writer.PID != 4711 {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := Create(OS{}, p, s); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := Read(OS{}, p); err != nil {
		t.Errorf("show of a checkpoint in use: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(OS{}, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLongKeys lets an anchor grow past its slot: the evidence is dropped, the position is not.
func TestLongKeys(t *testing.T) {
	d := newDisk()
	f, err := Create(d, path, state(1))
	if err != nil {
		t.Fatal(err)
	}
	s := state(2)
	s.Anchor = &Anchor{Key: []byte(strings.Repeat("k", 100_000))}
	if err := f.Put(s); err != nil {
		t.Fatal(err)
	}
	if got := f.State(); got.Rev != 2 || got.Anchor != nil {
		t.Errorf("%+v", got)
	}
	big := state(1)
	big.Spec = fmt.Appendf(nil, "{\"key\":%q}", strings.Repeat("k", 1_000_000))
	if f, err = Create(d, "/big", big); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(big); err != nil {
		t.Error(err)
	}
}
