package e2e

import "godwit/test/schemas"

// keepsSchema holds whatever --json printed in any test against docs/schemas.
func (r result) keepsSchema() {
	r.t.Helper()
	if err := schemas.Check("../../docs/schemas", r.args, r.stdout); err != nil {
		r.t.Error(err)
	}
}
