package ship

import (
	"context"
	"path"
	"strings"

	"godwit/internal/activate"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/secrets/onhost"
)

// With are the profiles that a system of a host was last kept with: itself, and its release
// of secrets before it. Without secrets there are none to name: the system goes alone.
func With(ctx context.Context, conn host.Conn, system string) ([]activate.Change, error) {
	out, err := conn.Output(ctx, host.Cmd{Name: "the search for the secrets of a system", Elevate: true, Args: []string{onhost.State, system}, Script: `cd "$1" 2>/dev/null && [ -f uses ] || exit 0
id=
while read -r of is; do [ "$of" != "$2" ] || id=$is; done <uses
[ -z "$id" ] || [ ! -f "$id/bundle.json" ] || echo "$1/$id"`})
	if err != nil {
		return nil, err
	}
	at := strings.TrimSpace(out)
	if path.Dir(at) != onhost.State { // none, or not what we asked for
		return nil, nil
	}
	return []activate.Change{{Name: string(fleet.Secrets), Kind: string(fleet.Secrets), New: at},
		{Name: fleet.SystemProfile, Kind: string(fleet.NixOS), New: system}}, nil
}
