package ssh

import (
	"context"
	"regexp"

	"godwit/internal/fault"
	"godwit/internal/shell"
)

// A host that a person's files of known hosts do not know yet can be vouched for: whoever
// made the pool has its public host key (Options.HostKeys). ssh gets that key beside all
// files that the person's configuration names, and only for a host about which these say
// nothing, so that it never stands for a key that they have. Nothing is written.

// hostKey is what a public host key looks like: nothing in it means anything to ssh or a shell.
var hostKey = regexp.MustCompile(`^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]{3}) [A-Za-z0-9+/]+={0,3}$`)

// vouch finds out whether the key of the current address is to be given to ssh, and
// keeps what that takes for args. The configuration is asked once per address.
func (h *Host) vouch(ctx context.Context) {
	o := h.pool.opts
	if !h.target.Fleet || o.HostKeys == nil || o.SkipHostKeyCheck || !modern(o.Program) {
		return
	}
	key := o.HostKeys(h.target.Name)
	if !hostKey.MatchString(key) {
		return
	}
	at := h.at.Load()
	h.vouchMu.Lock()
	_, asked := h.vouched[at]
	h.vouchMu.Unlock()
	if asked {
		return
	}
	// Not under the lock: the arguments of this question ask for the key, too.
	a, command, err := h.recorded(ctx)
	if err != nil {
		return // connecting tells why
	}
	h.vouchMu.Lock()
	defer h.vouchMu.Unlock()
	if _, asked := h.vouched[at]; asked {
		return // somebody else was first
	}
	if h.vouched == nil {
		h.vouched = map[int32]string{}
	}
	if len(a.Keys) > 0 || command {
		key = ""
	}
	h.vouched[at] = key
}

// vouchedKey is the key that ssh gets for the current address; "" for none.
func (h *Host) vouchedKey() string {
	h.vouchMu.Lock()
	defer h.vouchMu.Unlock()
	return h.vouched[h.at.Load()]
}

// vouching are the arguments that give ssh a key: for %H, which is how ssh itself calls
// the host in such files.
func (h *Host) vouching() []string {
	key := h.vouchedKey()
	if key == "" {
		return nil
	}
	return []string{"-o", "KnownHostsCommand=/usr/bin/env echo %H " + key}
}

// Vouched finds out whether somebody vouches for the host, for who uses Words without a
// connection of ours.
func (h *Host) Vouched(ctx context.Context) { h.vouch(ctx) }

// otherKey says what to do about a host that shows another key than the one vouched for.
func (h *Host) otherKey(f *fault.Error) *fault.Error {
	return f.Detail("the key on record is that of the repository's secrets; your own files of known hosts have none").
		Hint("if the host was really reinstalled: %s", fault.Raw(shell.Join(append(h.words(nil), "true"))+" && "+shell.Join([]string{"godwit", "keys", "adopt", h.target.Name})))
}
