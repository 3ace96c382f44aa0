//go:build linux

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// A campaign starts itself again as members, commands under locks and handlers.
func TestMain(m *testing.M) {
	if code, was := runIfOther(); was {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// What broke a promise once is carried out again. go run ./scripts/mutants -campaign -only kept does so without the protection.
func TestKeptSchedules(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute each")
	}
	files, err := filepath.Glob("testdata/*.schedule")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schedules: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if code := command([]string{"--replay", file}); code != exitKept {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestASchedulesTextIsTheSchedule(t *testing.T) {
	plan := Plan(shape(7))
	for i := range plan {
		f := &plan[i]
		f.At, f.For, f.Delay = f.At.Round(time.Millisecond), f.For.Round(time.Millisecond), f.Delay.Round(time.Millisecond)
		f.Loss = float64(int(f.Loss*100)) / 100
	}
	want := schedule{"lock/fenced", []string{"--seed", "7", "--ttl", "2s"}, plan}
	got, err := parseSchedule("# why\n\n" + want.String())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant\n%v\n%v", got, want, err)
	}
}

func TestASavedScheduleIsTheCampaign(t *testing.T) {
	cfg, err := parse([]string{"--seed", "3", "--duration", "2m", "--workloads", "kv,lock", "--security", "tls", "--ttl", "2s", "--defaults"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "s.schedule")
	text := cfg.schedule("lock/once", []Fault{{Class: Kill, At: 20 * time.Second, For: time.Second, Target: "m1"}}).String()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parse([]string{"--replay", file, "--seed", "4"})
	if err != nil || got.seed != 4 || got.duration != 28*time.Second || got.security != "tls" || got.ttl != cfg.ttl || !got.defaults || len(got.workloads) != 2 {
		t.Errorf("%s: %+v, %v", text, got, err)
	}
	if got.breaks != "lock/once" || len(got.plan) != 1 || got.plan[0].Target != "m1" {
		t.Errorf("%s: %+v", text, got)
	}
}

func TestScheduleTellsWhatIsWrong(t *testing.T) {
	const head = "breaks lock/once\ncampaign --seed 1\n"
	for _, bad := range []string{
		"", head, "1s kill m1\n", "campaign --seed 1\n1s kill m1\n", head + "1s burn m1\n", head + "soon kill m1\n", head + "1s kill m1 at=noon\n", head + "1s\n",
	} {
		if _, err := parseSchedule(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
