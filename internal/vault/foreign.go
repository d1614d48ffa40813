package vault

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"filippo.io/age/armor"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/redact"
	"godwit/internal/regular"
	"godwit/internal/sopsfile"
	"godwit/internal/ui/text"
)

// sopsTimeout bounds the sops program: it may ask a cloud, or a person with a token.
const sopsTimeout = 3 * time.Minute

// RevealFile decrypts a file that another tool made: one of age (agenix), or of sops, of
// which key is the value that is wanted, with "/" between its parts; "" is all of it. What
// no key of age opens is left to the sops program.
func (d *Desk) RevealFile(ctx context.Context, file, key string) ([]byte, error) {
	data, err := regular.Read(file, maxSecret)
	if err != nil {
		return nil, fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	start := bytes.TrimLeft(data, " \t\r\n")
	if bytes.HasPrefix(start, []byte("age-encryption.org/")) || bytes.HasPrefix(start, []byte(armor.Header)) {
		if key != "" {
			return nil, fault.New("%s is one value: it has no keys", file)
		}
		o, err := d.operator()
		if err != nil {
			return nil, err
		}
		return o.Open(file, data)
	}
	f, err := sopsfile.Parse(data, sopsfile.Format(file))
	if err != nil {
		return nil, fault.New("%s is not an age file, and as a sops file: %w", file, err)
	}
	if why := f.Meta().NeedsSops(); why != "" {
		return runSops(ctx, file, key, why)
	}
	o, err := d.operator()
	if err != nil {
		return nil, err
	}
	err = f.Decrypt(func(armored []byte, recipient string) ([]byte, error) { return o.Open(file, armored, recipient) })
	if err != nil {
		return nil, cannotOpen(file, err)
	}
	for _, v := range f.Values() {
		redact.Know([]byte(v))
	}
	plain, err := f.Value(key)
	if err != nil {
		return nil, fault.New("%s: %w", file, err)
	}
	return plain, nil
}

// cannotOpen keeps the hints of the first key that did not open.
func cannotOpen(file string, err error) error {
	f := fault.New("%s: %w", file, err)
	var inner *fault.Error
	if errors.As(err, &inner) {
		f.Detail(inner.Lines...)
		f.Hints = append(f.Hints, inner.Hints...)
	}
	return f
}

// runSops lets the sops program decrypt. why says why it has to.
func runSops(ctx context.Context, file, key, why string) ([]byte, error) {
	args := []string{"decrypt"}
	if key != "" {
		var path strings.Builder
		for _, k := range strings.Split(key, "/") {
			path.WriteString(`["` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(k) + `"]`)
		}
		args = append(args, "--extract", path.String())
	}
	tctx, cancel := context.WithTimeout(ctx, sopsTimeout)
	defer cancel()
	cmd := exec.CommandContext(tctx, "sops", append(args, "--", file)...)
	cmd.WaitDelay = 2 * time.Second
	out, err := bounded.Output(cmd, "what sops prints", identity.MaxPlain)
	if err == nil {
		redact.Know(out)
		return out, nil
	}
	f := fault.New("%s cannot be opened here: %s", file, why).Because(err)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, f.Hint("install sops, which opens such files")
	case errors.As(err, &exit):
		return nil, f.Detail("sops says:").Detail(text.Lines(strings.TrimSpace(string(exit.Stderr)), 10)...)
	}
	return nil, f.Detail("sops: " + text.OneLine(err.Error()))
}
