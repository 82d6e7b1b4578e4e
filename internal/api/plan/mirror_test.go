package plan

import "testing"

func TestNodeChangeIsChecked(t *testing.T) {
	for name, n := range map[string]NodeChange{"strategy": {Strategy: "ansible"}, "runtime": {Strategy: Mirror, Runtimes: []string{"docker"}}, "digest": {Strategy: Mirror, CA: "x"}} {
		if err := n.check(); err == nil {
			t.Errorf("a wrong %s is taken", name)
		}
	}
}
