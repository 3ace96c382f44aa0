package cmd

import (
	"fmt"
	"os"
	"os/signal"
)

// sigintsMain is a command that writes a line into the file sigints for each SIGINT, and ends with 5 when it reads a line. A
// shell's trap would run once for two that come together.
func sigintsMain() int {
	all := make(chan os.Signal, 64)
	signal.Notify(all, os.Interrupt)
	f, err := os.Create("sigints")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		for range all {
			_, _ = fmt.Fprintln(f, os.Interrupt)
		}
	}()
	fmt.Println("up")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 5
}
