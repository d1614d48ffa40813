package secrets

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/redact"
	"godwit/internal/ui/text"
)

// commandTimeout bounds a command that prints a secret: one that unlocks a store may
// wait for a person.
const commandTimeout = 3 * time.Minute

// commands are those that run now, of all hosts: as many as there is room for.
var commands = make(chan struct{}, 4)

// printed are what commands have printed in this run, by host, secret and command:
// a command runs once, before anything is touched anywhere, and is not asked again
// (a person with a token may sit before it) when its secret is uploaded. It is in
// memory only.
var printed sync.Map

// printedKey is one of printed.
func printedKey(host string, s fleet.Secret) string {
	return fmt.Sprintf("%q %q %q", host, s.Name, s.From.Command)
}

// Plaintext is what a secret of a host holds; all output hides it from then on.
func Plaintext(ctx context.Context, host string, s fleet.Secret) ([]byte, error) {
	data, err := content(ctx, host, s)
	if err != nil {
		return nil, err.On(host)
	}
	return data, nil
}

// content is the plaintext of a secret; all output hides it from then on.
func content(ctx context.Context, host string, s fleet.Secret) ([]byte, *fault.Error) {
	data, err := plaintext(ctx, host, s)
	redact.Know(data)
	return data, err
}

func plaintext(ctx context.Context, host string, s fleet.Secret) ([]byte, *fault.Error) {
	switch {
	case s.From.Withheld != "":
		// A saved plan holds no plaintext, and no command that may hold some.
		return nil, fault.New("secret %q: it is a %s in the configuration, which a saved plan does not contain", s.Name, s.From.Withheld).
			Hint("deploy the configuration itself, or make the secret a file")
	case s.From.File != "":
		f, ferr := openSource(s)
		if ferr != nil {
			return nil, ferr
		}
		defer f.Close()
		data, err := bounded.ReadAll(f, "its source", maxSecret)
		if err != nil {
			return nil, fault.New("secret %q: cannot read its source: %w", s.Name, err)
		}
		return data, nil
	case len(s.From.Command) == 0:
		return []byte(s.From.Text), nil
	}
	if data, ok := printed.Load(printedKey(host, s)); ok {
		return data.([]byte), nil
	}
	data, ferr := run(ctx, s)
	if ferr == nil {
		printed.Store(printedKey(host, s), data)
	}
	return data, ferr
}

// run runs the command of a secret here, without a shell and without input. What it
// prints is the secret, so no error says it, nor the words of the command but the first.
func run(ctx context.Context, s fleet.Secret) ([]byte, *fault.Error) {
	name := s.From.Command[0]
	why := func(format string, a ...any) *fault.Error {
		return fault.New("secret %q: %s", s.Name, fmt.Sprintf("its command %s %s", text.OneLine(name), fmt.Sprintf(format, a...)))
	}
	tctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	// It stays in our process group: it may ask a person at the terminal.
	cmd := exec.CommandContext(tctx, name, s.From.Command[1:]...)
	cmd.WaitDelay = 2 * time.Second
	out, err := bounded.Output(cmd, "what it prints", maxSecret)
	var exit *exec.ExitError
	var full *bounded.Error
	switch {
	case err == nil && len(out) == 0:
		return nil, why("prints nothing")
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, why("was interrupted").Because(ctx.Err())
	case tctx.Err() != nil:
		return nil, why("did not end within %s", commandTimeout)
	case errors.As(err, &full):
		return nil, fault.New("secret %q: %w", s.Name, full)
	case errors.As(err, &exit):
		f := why("failed: %s", exit)
		lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
		for _, l := range lines[max(0, len(lines)-5):] {
			if l = text.OneLine(l); l != "" {
				f.Detail(l)
			}
		}
		return nil, f
	case errors.Is(err, exec.ErrNotFound):
		return nil, why("is not installed here").Because(err)
	}
	return nil, why("cannot be run: %s", fault.Reason(err)).Because(err)
}

// prepare runs the commands of secrets and looks whether their files can be read; the
// errors are in the order of the list.
func prepare(ctx context.Context, host string, list []fleet.Secret) []error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, s := range list {
		if s.From.File != "" {
			if f, err := openSource(s); err != nil {
				errs[i] = err.On(host)
			} else {
				f.Close()
			}
			continue
		}
		wg.Go(func() {
			defer crash.Catch()
			commands <- struct{}{}
			defer func() { <-commands }()
			if _, err := content(ctx, host, s); err != nil {
				errs[i] = err.On(host)
			}
		})
	}
	wg.Wait()
	return errs
}
