package show

import (
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/ui"
)

// Reasons are why hosts failed. What is the same but for the host, such as one
// derivation that many need, is told once.
func Reasons(bad []deploy.Outcome) []error {
	var out []error
	hosts := map[string][]string{}
	first := map[string]*fault.Error{}
	for _, o := range bad {
		if o.State == deploy.Interrupted {
			continue
		}
		f, ok := o.Err.(*fault.Error)
		if !ok || f.Host != o.Host {
			out = append(out, o.Err)
			continue
		}
		one := *f
		one.Host = ""
		key := fault.Render(&one)
		if first[key] == nil {
			first[key] = &one
			out = append(out, &one)
		}
		hosts[key] = append(hosts[key], o.Host)
	}
	for key, f := range first {
		f.Host = ui.Names(hosts[key])
	}
	return out
}
