package activate

// Locked says that a person keeps the host from being changed, unless req overrides that.
func Locked(s State, req Request) error {
	if s.Lock == nil || req.OverrideLock || req.Action == DryActivate {
		return nil
	}
	return s.Lock.Err(req.Host)
}

// Refuses says why Run would not do req on a host in state s, without asking
// the host; nil when it would begin.
func Refuses(s State, req Request) error {
	if err := req.normalize(); err != nil {
		return err
	}
	if s.Pending != "" && req.Action != DryActivate {
		return busy(req.Host, s.Pending, s.Holder)
	}
	if err := Locked(s, req); err != nil {
		return err
	}
	return s.allows(req)
}

// Overrode is the lock of a host in words, where an action goes on over it; "": none.
func Overrode(s State, a Action) string {
	if s.Lock == nil || a == DryActivate {
		return ""
	}
	return s.Lock.String()
}
