package cmd

import (
	"encoding/json"
	"fmt"
	"time"
)

// answer is a line of a coprocess on its file descriptor 3.
type answer struct {
	Ack    *int64 `json:"ack"`    // all up to this seq are handled
	Nack   *int64 `json:"nack"`   // send from this seq on again
	Reject *int64 `json:"reject"` // this seq will never be handled
	Reason string `json:"reason"`
	After  int64  `json:"after_ms"`
	bad    error  // not nil: the line is no answer
}

// shownBytes is how much of a line that is no answer is shown.
const shownBytes = 200

// parseAnswer reads a line. A line that answers nothing is a bad one: who sent it waits for something.
func parseAnswer(line []byte) answer {
	var a answer
	if json.Unmarshal(line, &a) != nil || a.Ack == nil && a.Nack == nil && a.Reject == nil {
		a = answer{bad: fmt.Errorf("the coprocess wrote a line to file descriptor 3 that is no answer: %q", line[:min(len(line), shownBytes)])}
	}
	return a
}

// upTo returns how many of total groups, the first of which has the number first, an ack says are handled: 0 for an ack
// of groups before them.
func (a answer) upTo(first int64, total int) (int, error) {
	switch ack := *a.Ack; {
	case ack < first:
		return 0, nil // of groups that were acknowledged before
	case ack-first >= int64(total):
		return 0, fmt.Errorf("the coprocess acknowledged %d, which was not sent", ack)
	default:
		return int(ack-first) + 1, nil
	}
}

// longestPause bounds what a coprocess can ask for: beyond it, trying again costs nothing.
const longestPause = time.Hour

// pause is how long a nack asks to wait.
func (a answer) pause() time.Duration {
	return time.Duration(min(max(a.After, 0), longestPause.Milliseconds())) * time.Millisecond
}
