//go:build !linux

package main

import "os/exec"

// Elsewhere the processes are ended by stopAll alone, and what only /proc tells
// is not told.

func endWithUs(*exec.Cmd) {}

func cpuOf(int) float64 { return 0 }

func children(int) bool { return false }

func peak() string { return "" }
