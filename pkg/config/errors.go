package config

// UsageError is a setting that cannot be understood or used as it was given.
type UsageError struct{ Text, Next string }

// Error says what is wrong, and where it was set.
func (e *UsageError) Error() string { return e.Text }

// Hint returns the next step; empty: none is known.
func (e *UsageError) Hint() string { return e.Next }

// ImpossibleError is a configuration that cannot work: a file that cannot be read, or that says something impossible.
type ImpossibleError struct {
	Text, Next string
	Err        error // what the system said; may be nil
}

// Error says what cannot work, and why.
func (e *ImpossibleError) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

// Unwrap returns what the system said.
func (e *ImpossibleError) Unwrap() error { return e.Err }

// Hint returns the next step; empty: none is known.
func (e *ImpossibleError) Hint() string { return e.Next }
