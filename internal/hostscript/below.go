package hostscript

import _ "embed" // below.sh

// Below defines group_of PROCESS, and below GROUP, which finds what a process group has
// started, in whatever session that is: Nix gives its builders sessions of their own, and
// a signal for its group does not reach them.
//
//go:embed below.sh
var Below string
