package hostscript

import (
	"os/exec"
	"strings"
	"testing"
)

// TestBelow: a family with sessions of its own is found whole in each shell, by /proc and by ps,
// also when the leader of its group is gone; and nothing else is. Anybody can give a process a name
// that says it is of the family, and in somebody's group: "a) S PARENT GROUP" and a line break.
func TestBelow(t *testing.T) {
	for _, sh := range []string{"dash", "bash"} {
		for name, table := range map[string]string{"proc": Below, "ps": strings.ReplaceAll(Below, "/proc/self/stat", "/no/proc")} {
			words := append([]string{sh, "-c"}, table+`
setsid sh -c 'echo $$; sh -c "setsid sh -c \"sleep 30; :\" & echo inner \$!; wait" & exit 0' >"$1" &
n=0
while { ! grep -qs inner "$1" || { read -r group <"$1"; below "$group"; [ "$(echo $below_pids | wc -w)" -lt 3 ]; }; } && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done
inner=$(sed -n 's/^inner //p' "$1")
setsid sh -c 'printf "a) S %d 7\n" "$2" >/proc/self/comm; cp "/proc/$$/stat" "$1.new"; mv "$1.new" "$1.evil"; sleep 30; :' sh "$1" "$inner" &
evil=$!
while ! [ -s "$1.evil" ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done
grep -q "(a) S $inner 7$" "$1.evil" || echo "the name is not taken: $(cat "$1.evil")"
below "$group"
set -- $below_groups
echo "$# $([ "$1" = "$inner" ] && echo inner) $(echo $below_pids | wc -w) $([ "$(group_of "$inner")" = "$inner" ] && echo own) [$(group_of 0)]"
kill -s KILL -- "-$group" "-$1" "-$evil"
`, "sh", t.TempDir()+"/said")
			out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
			if want := "1 inner 3 own []\n"; err != nil || string(out) != want {
				t.Errorf("%s, %s: %v, %q, not %q", sh, name, err, out, want)
			}
		}
	}
}
