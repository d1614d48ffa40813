//go:build !linux

package onhost

import (
	"fmt"
	"os"
)

// Main is for Linux: there it is what the program does.
func Main([]string) int {
	fmt.Fprintln(os.Stderr, Name+": this is for hosts that run Linux")
	return 64
}
