package subprocess

import "testing"

func TestTheLastWordIsBounded(t *testing.T) {
	b := lastWord{max: 4}
	if n, err := b.Write([]byte("123456")); n != 6 || err != nil || b.said() != ": 1234" {
		t.Errorf("kept %q, %d, %v", b.said(), n, err)
	}
	if b.forget(); b.said() != "" {
		t.Errorf("still %q", b.said())
	}
}
