package secrets

import (
	_ "embed" // the scripts
	"path"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// walkScript is what the scripts below begin with: how root gets to a directory
// without following a name that another user of the host can change meanwhile.
//
//go:embed walk.sh
var walkScript string

// placeScript runs as root on the host. It reads from its input:
//
//	the number of secrets
//	a line for each with its destination (to wait for file systems)
//	for each: index, destination, user, group, late (0 or 1: an owner that is not
//	there yet leaves it root's), mode, mkdirs (0 or 1), length, sha256, action id (or
//	nothing), each in a line, then length bytes
//	commit
//
// and answers with lines: "staged INDEX new|changed|unchanged", "due INDEX" for
// an action left over from an earlier run, "late INDEX" for an owner that is not there yet, "loose INDEX UID GID DIR-UID DIR-GID
// DIR-MODE DIR-USER DIR-GROUP DIR" for the owner of a secret and a directory in which
// somebody else than root can exchange things, "placed INDEX", "unchanged INDEX",
// "error INDEX WHAT MESSAGE", "end 0".
//
//go:embed place.sh
var placeScript string

// doneScript forgets actions that have run.
const doneScript = `
for a; do rm -f -- "/run/godwit-actions/$a"; done
rmdir /run/godwit-actions 2>/dev/null || :
`

// looseWay is what to warn of when the host says that somebody can exchange things
// in a directory on the way to a secret; nothing when that is who owns the secret, who
// can read it anyway.
func looseWay(s fleet.Secret, words string) (dir, warning string) {
	w := strings.SplitN(words, " ", 8)
	if len(w) != 8 {
		return "", ""
	}
	uid, gid, dirUID, dirGID, mode, user, group, dir := w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
	permits := func(back int) bool { // the digit of mode that many from the end
		return len(mode) >= back && strings.IndexByte("2367", mode[len(mode)-back]) >= 0
	}
	sticky := len(mode) == 4 && strings.IndexByte("1357", mode[0]) >= 0
	said := ""
	switch {
	case dirUID != "0" && dirUID != uid:
		said = "belongs to " + user + ", who"
	case sticky:
		return "", ""
	case permits(1):
		said = "can be written to by everybody, who"
	case permits(2) && !(dirUID == uid && dirGID == gid):
		said = "can be written to by the group " + group + ", which"
	default:
		return "", ""
	}
	return dir, "secret \"" + s.Name + "\": " + dir + " " + said + " can put another file in its place"
}

// refusal says why the host refuses a secret. what is the script's word for it, and
// said what it gives along.
func refusal(s fleet.Secret, what, said string) *fault.Error {
	dir := path.Dir(s.Destination)
	var f *fault.Error
	switch what {
	case "owner":
		f = fault.New("secret %q: the host has no owner %s:%s", s.Name, s.User, s.Group)
		if s.UploadAt != fleet.PostActivation {
			f.Hint("if the new system makes the user: %s = \"post-activation\"", fault.Raw(s.Option("uploadAt")))
		}
	case "mode":
		f = fault.New("secret %q: cannot set permissions %s", s.Name, s.Permissions)
	case "nodir":
		f = fault.New("secret %q: the host has no directory %s", s.Name, dir).
			Hint("%s = true makes it", fault.Raw(s.Option("mkDirs")))
	case "mkdir":
		f = fault.New("secret %q: cannot make the directory %s", s.Name, dir)
	case "isdir":
		f = fault.New("secret %q: the destination %s is a directory on the host", s.Name, s.Destination).
			Hint("%s must name the file itself", fault.Raw(s.Option("destination")))
	case "short":
		f = fault.New("secret %q: only a part of it arrived", s.Name)
	case "rename":
		f = fault.New("secret %q: cannot move it to %s", s.Name, s.Destination)
	case "link":
		user, link, _ := strings.Cut(said, " ")
		said = ""
		f = fault.New("secret %q: %s is a link of %s, or in a directory that users other than root can change, so it is not followed", s.Name, link, user).
			Hint("name the directory that it leads to in %s", fault.Raw(s.Option("destination")))
	case "store":
		f = fault.New("secret %q: %s is in the Nix store of the host, which everybody can read", s.Name, dir).
			Hint("change %s", fault.Raw(s.Option("destination")))
		if said == dir {
			said = ""
		} else {
			said = "that is " + said
		}
	case "moved":
		f = fault.New("secret %q: somebody exchanges directories on the way to %s while it is being put there", s.Name, s.Destination).
			Hint("choose a directory that belongs to root in %s, or stop the program that does that", fault.Raw(s.Option("destination")))
	case "acl":
		f = fault.New("secret %q: the access control list of %s gives new files to others, and the host has no setfacl to take that back", s.Name, said).
			Hint("remove it there: setfacl -k DIRECTORY; or choose a directory that belongs to root in %s", fault.Raw(s.Option("destination")))
		said = ""
	default:
		f = fault.New("secret %q: cannot write it beside %s", s.Name, s.Destination)
	}
	if said != "" {
		f.Detail(said)
	}
	return f
}
