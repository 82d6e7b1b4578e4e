package stack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestX(t *testing.T) {
	_, err := ReadStack("/tmp/s.yaml")
	t.Log(err)
	u, err := ReadUpstreams("/tmp/s.yaml")
	t.Log(u, err)
	_ = os.Stdout
	_ = filepath.Join
	_ = strings.Cut
}
