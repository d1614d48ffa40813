package host_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"godwit/internal/host"
)

// TestSent has shells run lines that are read byte by byte and in blocks: whole ones leave what
// comes behind them where that may be there, and what is cut off is not run.
func TestSent(t *testing.T) {
	long := "x='" + strings.Repeat("é'\"'\"' # ", 8<<10) + "'"
	for _, sh := range [][]string{{"dash"}, {"bash", "--posix"}} {
		// Without head it is as without blocks.
		for name, before := range map[string]string{"": "", "no head": "head() { return 127; }; "} {
			run := func(in string) (string, error) {
				cmd := exec.Command(sh[0], append(sh[1:len(sh):len(sh)], "-c", before+`IFS= read -r _g || exit 98; eval "$_g"`)...)
				cmd.Stdin = strings.NewReader(in) // a pipe
				out, err := cmd.Output()
				return string(out), err
			}
			for _, text := range []string{"true", long} {
				line := text + `; echo "${#x}" >&2; echo run; cat`
				for _, blocks := range []bool{false, true} {
					t.Run(fmt.Sprint(sh[0], " ", name, len(text), blocks), func(t *testing.T) {
						sent, behind := host.Sent(line, blocks), "behind\n"
						if blocks {
							behind = ""
						}
						if out, err := run(sent + behind); out != "run\n"+behind || err != nil {
							t.Errorf("%q, %v", out, err)
						}
						last := len(sent) - 1
						if blocks && text == long {
							last-- // all of it but the line break is all
						}
						for _, n := range []int{1, 20, len(sent) / 2, len(sent) - 30, last} {
							if out, err := run(sent[:n]); out != "" || err == nil {
								t.Errorf("cut off after %d of %d: %q, %v", n, len(sent), out, err)
							}
						}
					})
				}
			}
		}
	}
}
