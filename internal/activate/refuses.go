package activate

// Refuses says why Run would not do req on a host in state s, without asking
// the host; nil when it would begin.
func Refuses(s State, req Request) error {
	if err := req.normalize(); err != nil {
		return err
	}
	if s.Pending != "" && req.Action != DryActivate {
		return busy(req.Host, s.Pending, s.Holder)
	}
	return s.allows(req)
}
