//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// coprocessWord makes this program the handler of a watch: it appends every record to a file, and acknowledges a revision when
// its records are there.
const coprocessWord = "coprocess-of-a-watch"

// runIfCoprocess runs this process as a handler if it was started as one. Its argument is the file.
func runIfCoprocess() (code int, was bool) {
	if len(os.Args) != 3 || os.Args[1] != coprocessWord {
		return 0, false
	}
	acks := os.NewFile(3, "acks")
	if err := handle(os.Stdin, os.Args[2], acks); err != nil {
		fmt.Fprintln(os.Stderr, "coprocess:", err)
		return 1, true
	}
	return 0, true
}

func handle(records io.Reader, file string, acks io.Writer) error {
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for in := bufio.NewReader(records); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var r struct {
			Type string
			Seq  int64
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("record %q: %w", line, err)
		}
		if r.Type != "commit" {
			_, err = log.Write(line)
		} else {
			_, err = fmt.Fprintf(acks, "{\"ack\":%d}\n", r.Seq)
		}
		if err != nil {
			return err
		}
	}
}
