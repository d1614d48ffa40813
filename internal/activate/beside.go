package activate

import (
	"slices"
	"strconv"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/profile"
)

// Beside makes the script that lays reboot.BesideFolder for the profiles of a request but its main
// one, the system that is booted. Nothing of them is changed by that. The verbs of the run.sh
// in it try them, keep them and take them back, when whoever decides over the system says so.
// id is that of the reboot; what fails is said on the output of the script, with a status.
func Beside(req Request, id string) (string, error) {
	if err := req.normalize(); err != nil {
		return "", err
	}
	if !req.kind().Boots {
		return "", fault.New("none of the host's profiles is a system that boots").On(req.Host)
	}
	d := &run{req: req, id: id}
	d.limits()
	v := d.variables()
	v["MODE"], v["APPLY_ACTION"] = "once", string(Test)
	main := strconv.Itoa(req.main + 1)
	v["PROFILES"] = strings.Join(slices.DeleteFunc(strings.Fields(v["PROFILES"]), func(n string) bool { return n == main }), " ")
	of := slices.DeleteFunc(req.kinds(), func(k profile.Kind) bool { return k.Boots })
	script, err := req.at.besideScript(v, append(of, req.kind()), d.meta())
	if err != nil {
		return "", fault.New("%w", err).On(req.Host)
	}
	return script, nil
}
