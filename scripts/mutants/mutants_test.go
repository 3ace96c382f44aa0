package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A change that can no longer be made proves nothing.
func TestEveryChangeCanBeMade(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants() {
		text, err := os.ReadFile(filepath.Join("..", "..", m.File))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.apply(string(text)); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if names[m.Name] {
			t.Errorf("%s is there twice", m.Name)
		}
		names[m.Name] = true
		if (m.Test == "") == (m.Campaign == "") {
			t.Errorf("%s has to be found by tests, or by the campaign", m.Name)
		}
	}
}
