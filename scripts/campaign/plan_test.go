//go:build linux

package main

import (
	"reflect"
	"testing"
	"time"
)

func shape(seed uint64) Shape {
	return Shape{Seed: seed, Duration: 2 * time.Minute, Classes: allClasses(), Targets: []string{"lock", "watch"}, TTL: 5 * time.Second}
}

func TestPlanIsTheSameForTheSameSeed(t *testing.T) {
	if !reflect.DeepEqual(Plan(shape(7)), Plan(shape(7))) {
		t.Error("one seed gave two plans")
	}
	if reflect.DeepEqual(Plan(shape(7)), Plan(shape(8))) {
		t.Error("two seeds gave one plan")
	}
}

func TestPlanHasEveryClassAndKeepsToItsTime(t *testing.T) {
	for seed := range uint64(50) {
		s := shape(seed)
		plan := Plan(s)
		n := Counts(plan)
		for _, c := range s.Classes {
			if n[c] == 0 {
				t.Errorf("seed %d: no %s in two minutes", seed, c)
			}
		}
		last := time.Duration(0)
		for _, f := range plan {
			if f.At < last {
				t.Errorf("seed %d: %s comes out of order", seed, f)
			}
			last = f.At
			if f.Class == ProcCut && f.For <= s.TTL {
				t.Errorf("seed %d: %s does not outlast the TTL", seed, f)
			}
			if f.Class == LeaderStop && (f.For <= s.TTL || f.Target != "leader") {
				t.Errorf("seed %d: %s does not outlast the TTL on the leader", seed, f)
			}
		}
	}
}

func TestPlanKeepsToTheClassesAskedFor(t *testing.T) {
	s := shape(1)
	s.Classes = []Class{Kill, ProcKill}
	n := Counts(Plan(s))
	if len(n) != 2 || n[Kill] == 0 || n[ProcKill] == 0 {
		t.Errorf("asked for kill and proc-kill, got %v", n)
	}
	s.Targets = nil
	if n := Counts(Plan(s)); n[ProcKill] != 0 {
		t.Errorf("without processes to kill, got %v", n)
	}
}
