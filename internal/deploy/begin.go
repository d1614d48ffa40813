package deploy

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/store"
)

// copyMark is there while paths are copied to a host, and stays when the host
// loses power meanwhile: the next copy then looks at what came (scripts/begin.sh).
// Two deployers that copy to one host at once share it; what the longer one
// copies after the end of the shorter one is not covered.
const copyMark = "/nix/var/nix/godwit-copying"

//go:embed scripts/begin.sh
var beginScript string

var beginText = hostscript.Compound(rootsFunc, hostscript.BootID, hostscript.RoomOf, beginScript)

// rootsFunc makes a root of each path behind the first, which is the root of the
// first path; further ones get its name with -2, -3 and so on.
const rootsFunc = `roots() {
	r=$1 n=; shift
	for p; do ln -sfn "$p" "$r${n:+-$n}" || return; n=$((${n:-1}+1)); done
	while [ -L "$r-$n" ]; do rm -f "$r-$n" || return; n=$((n+1)); done
}
`

// copying is one copy to a host, from its mark to its roots.
type copying struct {
	conn  host.Conn
	roots []string
	id    string
}

func newCopying(conn host.Conn, roots []string) *copying {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return &copying{conn: conn, roots: roots, id: hex.EncodeToString(b)}
}

// begin sets the mark, unless there is one of a copy that a power cut ended, or
// makes the roots where everything is there.
func (c *copying) begin(ctx context.Context) (store.Begun, error) {
	b, _, err := c.script(ctx, "")
	return b, err
}

// mend takes what a power cut damaged out of the host's store, and sets the mark.
func (c *copying) mend(ctx context.Context) ([]string, error) {
	_, mended, err := c.script(ctx, "mend")
	return mended, err
}

// mendLimit and syncLimit bound what a slow disk may take for reading all that was
// copied, and for writing it.
const (
	mendLimit = 30 * time.Minute
	syncLimit = 15 * time.Minute
)

func (c *copying) script(ctx context.Context, mode string) (b store.Begun, mended []string, err error) {
	limit := host.DefaultLimit
	if mode == "mend" {
		limit = mendLimit
	}
	out, err := c.conn.Output(ctx, host.Cmd{Script: beginText, Name: "the beginning of the copy", Limit: limit,
		Args: append([]string{copyMark, "/nix/store", c.id, mode, pushedRoot}, c.roots...), Elevate: true})
	if err != nil {
		return b, nil, err
	}
	var damaged []string
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "free":
			room, err := hostscript.ParseRoom(rest)
			if err != nil {
				return b, nil, fault.New("%w", err).On(c.conn.Name())
			}
			b.Room = store.Room(room)
		case "cut":
			b.Cut = true
		case "rooted":
			b.Rooted = true
		case "mended":
			mended = append(mended, rest)
		case "damaged":
			damaged = append(damaged, rest)
		case "unverified":
			return b, nil, fault.New("the host lost power during a copy, and what was copied then cannot be verified there").On(c.conn.Name()).
				Hint("find with -cnewer, xargs and nix-store are needed there; or, on the host, as root: nix-store --verify --check-contents --repair && rm %s", copyMark)
		}
	}
	if len(damaged) > 0 {
		return b, nil, fault.New("the host lost power during a copy, and paths that are in use there are damaged").On(c.conn.Name()).
			Detail(damaged...).
			Hint("on the host, as root: nix-store --verify --check-contents --repair")
	}
	return b, mended, nil
}

// protectScript MARK ID ROOT PATH... ends the copy ID: roots of PATHs, all of it on
// the disk, no MARK. Status restarted says that the host is not in the boot in which the
// copy began: the mark stays, and nothing holds what may be damaged.
const protectScript = rootsFunc + hostscript.BootID + "\n" + `mark=$1 id=$2; shift 2
was='' is=''
boot_look || :
if [ -e "$mark" ]; then read -r was is <"$mark" || :; fi
if [ "$is" = "$id" ] && [ "$was" != "${boot_is:-none}" ]; then exit 75; fi
roots "$@" || exit
sync -f /nix/store 2>/dev/null || sync
if [ "$is" = "$id" ]; then rm -f "$mark"; fi`

// restarted is a status that nothing else in protectScript ends with (EX_TEMPFAIL).
const restarted = 75

// protect makes the roots and ends the mark. Before that it waits until the paths
// are on the disk: Nix syncs its database, not the files, so that after a power cut it
// would hold empty files for valid ones (seen on a real kernel, test/realboot).
func (c *copying) protect(ctx context.Context) error {
	err := c.conn.Run(ctx, host.Cmd{Name: "the end of the copy", Limit: syncLimit, Script: protectScript,
		Args: append([]string{copyMark, c.id, pushedRoot}, c.roots...), Elevate: true})
	if exit := (*host.ExitError)(nil); errors.As(err, &exit) && exit.Code == restarted {
		return fault.New("the host restarted during the copy").On(c.conn.Name()).
			Hint("run the same again: what has arrived is checked there first")
	}
	return err
}
