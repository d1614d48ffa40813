package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/deploy"
	"godwit/internal/fault"
)

// TestReasons: what many hosts failed of is told once, and nothing is lost.
func TestReasons(t *testing.T) {
	broken := func(host string) deploy.Outcome {
		return deploy.Outcome{Host: host, State: deploy.Failed, Err: fault.New("lab-fails does not build").On(host).Detail("exit 1").Hint("nix log x")}
	}
	var bad []deploy.Outcome
	for i := range 6 {
		bad = append(bad, broken(fmt.Sprintf("web%d", i)))
	}
	bad = append(bad,
		deploy.Outcome{Host: "db", State: deploy.Failed, Err: fault.New("lab-fails does not build").On("db").Detail("exit 2").Hint("nix log x")},
		deploy.Outcome{Host: "pi", State: deploy.Interrupted, Err: fault.New("interrupted").On("pi")},
		deploy.Outcome{Host: "mail", State: deploy.Failed, Err: errors.New("mail: no room")},
	)
	var got strings.Builder
	for _, err := range reasons(bad) {
		got.WriteString(fault.Render(err))
	}
	want := `error: web0, web1, web2 and 3 more: lab-fails does not build
  exit 1
hint: nix log x
error: db: lab-fails does not build
  exit 2
hint: nix log x
error: mail: no room
`
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
	if f := bad[0].Err.(*fault.Error); f.Host != "web0" {
		t.Errorf("the outcome's own error was changed: %v", f)
	}
}
