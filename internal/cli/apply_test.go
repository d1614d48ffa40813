package cli

import (
	"strings"
	"testing"
)

// TestApplyWords: what colmena's command lines become.
func TestApplyWords(t *testing.T) {
	for args, want := range map[string]string{
		"apply":                    "deploy switch --upload-secrets=true",
		"apply --reboot":           "deploy boot --upload-secrets=true --reboot=true",
		"apply test --on @a,!b":    "deploy test --upload-secrets=true --on=@a,!b",
		"apply hive.nix boot":      "deploy hive.nix boot --upload-secrets=true",
		"apply -f hive.nix":        "deploy switch --upload-secrets=true --file=hive.nix",
		"apply dry-activate":       "deploy dry-activate",
		"apply --no-keys -p 4":     "deploy switch --upload-secrets=false --no-keys=true --parallel=4",
		"apply build --no-keys":    "build --no-keys=true",
		"apply push --on a --on b": "push --on=a --on=b",
		"apply keys":               "upload-secrets",
		"apply upload-keys":        "upload-secrets",
		"apply --build-on-target --no-gzip --no-substitutes --force-replace-unknown-profiles": "deploy switch --upload-secrets=true --accept-risk=unknown-profile --builder=target --compress=off --no-substitute=true",
		"apply --no-build-on-target --eval-node-limit 5 --evaluator streaming":                "deploy switch --upload-secrets=true --builder=auto --eval-node-limit=5 --evaluator=streaming",
		"apply --nix-option max-jobs 3":                                                       "deploy switch --upload-secrets=true --option=max-jobs\x003",
		"apply swich":                                                                         `!"swich" is not an action`,
		"apply upload-keys --no-keys":                                                         "!--no-keys leaves nothing to upload",
	} {
		root := newRoot(&app{})
		c, rest, err := root.Find(joinOptionPairs(strings.Fields(args)))
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		words, err := applyWords(c.Flags(), c.Flags().Args())
		got := strings.Join(words, " ")
		if err != nil {
			got = "!" + err.Error()
		}
		if got != want && !(strings.HasPrefix(want, "!") && strings.HasPrefix(got, want)) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}
