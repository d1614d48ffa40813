package deploy

import (
	"runtime"
	"testing"
)

// TestSqueeze: no more hosts are compressed for than there are processors for.
func TestSqueeze(t *testing.T) {
	p := new(Pushers)
	for k := range 2 * runtime.NumCPU() {
		if !p.squeeze(0.5) {
			t.Errorf("half %d of a processor is not to be had", k)
		}
	}
	if p.squeeze(0.1) {
		t.Error("more than there is")
	}
	p.squeeze(-0.5)
	if again := p.squeeze(0.5); !again {
		t.Error("what was given back is not to be had")
	}
	if p.squeeze(0.5) {
		t.Error("what was given back is to be had twice")
	}
}
