// Command secrets measures what secrets cost a fleet, side by side in one run: to encrypt
// them, to look whether all can be opened, and to bring them to their hosts.
//
//	go run ./bench/secrets [-hosts 20] [-secrets 100] [-each 4] [-runs 3]
//
// Each secret is for -each hosts. Beside godwit is what people do without it: the program age
// once per file, and colmena's way of uploading: one connection of ssh per key and host,
// ten hosts at a time, each key to a temporary file that is then given its owner, its mode
// and its name. That is done by a shell here, with the same ssh.
//
// It needs root on Debian (test/setup.sh). Hosts are lab containers, reached on the loopback
// address. Times are whole-process wall times; medians are printed, and ratios of pairs.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"godwit/test/lab"
)

func main() {
	hosts := flag.Int("hosts", 20, "hosts of the fleet")
	secrets := flag.Int("secrets", 100, "secrets of the fleet")
	each := flag.Int("each", 4, "hosts that each secret is for")
	runs := flag.Int("runs", 3, "measured runs of each kind")
	flag.Parse()
	if err := run(*hosts, *secrets, *each, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "bench/secrets:", err)
		os.Exit(1)
	}
}

// bench is a repository with a fleet.
type bench struct {
	dir   string
	env   []string
	hosts []string
	names []string // of the secrets
	uses  map[string][]string
	runs  int
}

func run(hosts, secrets, each, runs int) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, runs: runs, uses: map[string][]string{}}
	if err := b.programs(); err != nil {
		return err
	}
	for i := range hosts {
		b.hosts = append(b.hosts, fmt.Sprintf("node%02d", i))
	}
	for i := range secrets {
		name := fmt.Sprintf("secret%03d", i)
		b.names = append(b.names, name)
		for k := range min(each, hosts) {
			b.uses[name] = append(b.uses[name], b.hosts[(i+k*max(1, hosts/each))%hosts])
		}
	}
	fmt.Fprintf(os.Stderr, "starting %d hosts\n", hosts)
	list, remove, err := lab.StartFleet(ctx, filepath.Join(dir, "lab"), b.hosts)
	if err != nil {
		return err
	}
	defer remove()
	if err := b.repository(list); err != nil {
		return err
	}
	fmt.Printf("%d secrets, each for %d of %d hosts; %d runs, medians\n\n", secrets, each, hosts, runs)
	fmt.Printf("%-64s %9s %9s %7s\n", "", "godwit", "other", "ratio")
	for _, c := range b.cases() {
		if err := b.compare(c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// programs builds godwit and age.
func (b *bench) programs() error {
	bin := filepath.Join(b.dir, "bin")
	for _, c := range [][]string{
		{"-o", filepath.Join(bin, "godwit"), "godwit/cmd/godwit"},
		{"-o", filepath.Join(bin, "godwit-secrets-linux-amd64"), "godwit/cmd/godwit-secrets"},
		{"-o", bin + "/", "filippo.io/age/cmd/age", "filippo.io/age/cmd/age-keygen"},
	} {
		build := exec.Command("go", append([]string{"build", "-ldflags=-s -w"}, c...)...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", c[2], err, out)
		}
	}
	return nil
}

// repository writes a network of the hosts, and makes a folder of secrets for it.
func (b *bench) repository(list []*lab.Host) error {
	config := filepath.Join(b.dir, "ssh_config")
	if err := lab.WriteSSHConfig(config, list...); err != nil {
		return err
	}
	small, err := filepath.Abs("test/nixos")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(small, "nixos/lib/eval-config.nix")); err != nil {
		return fmt.Errorf("run it in the repository's root: %w", err)
	}
	b.env = append(os.Environ(), "PATH="+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"),
		"SSH_CONFIG_FILE="+config, "NIX_PATH=nixpkgs="+small, "CI=1", "GODWIT_IDENTITY=", "SOPS_AGE_KEY_FILE=",
		"XDG_STATE_HOME="+filepath.Join(b.dir, "state"), "XDG_CONFIG_HOME="+filepath.Join(b.dir, "config"),
		"NIX_CONFIG=build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command flakes")
	var net strings.Builder
	net.WriteString("let common = { ... }: { nixpkgs.hostPlatform = \"x86_64-linux\"; system.stateVersion = \"24.05\"; deployment.targetUser = \"root\"; }; in {\n")
	for _, h := range b.hosts {
		fmt.Fprintf(&net, "  %s = { ... }: { imports = [ common ];\n", h)
		for _, name := range b.names {
			if slices.Contains(b.uses[name], h) {
				fmt.Fprintf(&net, "    deployment.secrets.%s = { source = \"plain/%s\"; destination = \"/run/keys/%s\"; };\n", name, name, name)
			}
		}
		net.WriteString("  };\n")
	}
	net.WriteString("}\n")
	if err := b.write("network.nix", net.String()); err != nil {
		return err
	}
	if err := b.does("godwit keys init alice && godwit keys adopt network.nix --yes && age-keygen -o bob.key && age-keygen -y bob.key >bob.pub && mkdir -p plain by-hand"); err != nil {
		return err
	}
	for _, name := range b.names {
		text := "for = ['" + strings.Join(b.uses[name], "', '") + "']\n[generator]\nkind = 'random'\n"
		if err := b.write("secrets/store/"+name+".toml", text); err != nil {
			return err
		}
		var to strings.Builder
		for _, h := range b.uses[name] {
			key, err := os.ReadFile(filepath.Join(b.dir, "secrets/machines", h, "ssh_host_ed25519.pub"))
			if err != nil {
				return err
			}
			to.Write(key)
		}
		if err := b.write("by-hand/"+name+".to", to.String()); err != nil {
			return err
		}
	}
	return b.does("age-keygen -y config/godwit/identity.txt >alice.pub; cp secrets/recipients.toml alone.toml; " +
		`sed "s/^\[operators\]/&\nbob = ['$(cat bob.pub)']/" alone.toml >both.toml; for h in ` + strings.Join(b.hosts, " ") + "; do grep -l \"$h\" secrets/store/*.toml | sed 's|.*/||; s|[.]toml$||' >by-hand/$h.list; done")
}

// write writes a file of the repository.
func (b *bench) write(name, text string) error {
	at := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return os.WriteFile(at, []byte(text), 0o600)
}

// does runs a script in the repository.
func (b *bench) does(script string) error {
	_, err := b.timed(script)
	return err
}

func (b *bench) timed(script string) (time.Duration, error) {
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = b.dir, b.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		text := out.String()
		return took, fmt.Errorf("%s: %w\n%s", script, err, text[max(0, len(text)-4000):])
	}
	return took, nil
}

// pair is one comparison: scripts.
type pair struct {
	name       string
	before     string // of both, not measured
	own, other string
}

// upload is colmena's way: the script of its uploader, over a connection for each key.
const upload = `up() {
	while read -r s; do
		ssh -F ssh_config -o ControlMaster=no -o ControlPath=none "root@$1" "mkdir -p /run/colmena && f=\$(mktemp /run/colmena/.$s.XXXXXX) && cat >\$f && chown root:root \$f && chmod 0600 \$f && mv \$f /run/colmena/$s" <"plain/$s" || exit 1
	done <"by-hand/$1.list"
}
running=0 failed=0
for h in $HOSTS; do
	up "$h" & pids="$pids $!"
	running=$((running + 1))
	if [ $running -ge 10 ]; then for p in $pids; do wait "$p" || failed=1; done; pids= running=0; fi
done
for p in $pids; do wait "$p" || failed=1; done
[ $failed = 0 ]`

func (b *bench) cases() []pair {
	all := strings.Join(b.names, " ")
	loop := func(what string) string { return "for s in " + all + "; do " + what + "; done" }
	byHand := "HOSTS='" + strings.Join(b.hosts, " ") + "' pids=\n" + upload
	plain := loop("age -d -i config/godwit/identity.txt secrets/store/$s.age >plain/$s")
	return []pair{
		{"encrypt: new values for all", "cp alone.toml secrets/recipients.toml; godwit secrets rekey --yes",
			"godwit secrets generate --again --yes " + all,
			loop("head -c 24 /dev/urandom | base64 | age -e -R alice.pub -R by-hand/$s.to -o by-hand/$s.age")},
		{"encrypt again: an operator joins", "cp alone.toml secrets/recipients.toml; godwit secrets rekey --yes; cp both.toml secrets/recipients.toml",
			"godwit secrets rekey --yes",
			loop("age -d -i config/godwit/identity.txt by-hand/$s.age | age -e -R alice.pub -R bob.pub -R by-hand/$s.to -o by-hand/$s.new")},
		{"preflight: can everything be opened", "",
			"godwit secrets check --open",
			loop("age -d -i config/godwit/identity.txt by-hand/$s.age >/dev/null")},
		{"resting, all values new: the whole deploy | one ssh per key", "godwit secrets generate --again --yes " + all + "; " + plain,
			"godwit deploy network.nix switch --upload-secrets=false --accept-risk=unknown-profile", byHand},
		{"resting, nothing new: the whole deploy | one ssh per key", "",
			"godwit deploy network.nix switch --upload-secrets=false --accept-risk=unknown-profile", byHand},
		{"pushed, all values new: upload-secrets | one ssh per key", "godwit secrets generate --again --yes " + all + "; " + plain,
			"godwit upload-secrets network.nix", byHand},
		{"pushed, nothing new: upload-secrets | one ssh per key", "",
			"godwit upload-secrets network.nix", byHand},
	}
}

// compare runs both sides in turns.
func (b *bench) compare(c pair) error {
	var own, other, ratios []float64
	for range b.runs {
		if c.before != "" {
			if err := b.does(c.before); err != nil {
				return err
			}
		}
		o, err := b.timed(c.own)
		if err != nil {
			return err
		}
		x, err := b.timed(c.other)
		if err != nil {
			return err
		}
		own, other, ratios = append(own, o.Seconds()), append(other, x.Seconds()), append(ratios, o.Seconds()/x.Seconds())
	}
	fmt.Printf("%-64s %8.2fs %8.2fs %7.3f\n", c.name, median(own), median(other), median(ratios))
	return nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
