package helm

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/caisson/caisson/charts"
)

func TestOurChartsOpen(t *testing.T) {
	for _, name := range charts.Names() {
		c, err := OpenOurs(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := OpenOurs(name)
		if err != nil || !bytes.Equal(c.Archive(), again.Archive()) {
			t.Errorf("%s: packed twice it differs, %v", name, err)
		}
		if c.Name() != name || c.Version() == "" {
			t.Errorf("%s calls itself %s %s", name, c.Name(), c.Version())
		}
	}
	if _, err := OpenOurs("nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a chart that is not there: %v", err)
	}
}

func TestRenderOurs(t *testing.T) {
	config := `{"stack":"a<b>\u2028é"}`
	objects, err := RenderOurs(t.Context(), "node-agent", map[string]any{
		"stack": "acme", "image": "registry.example/caisson@sha256:0", "config": config,
		"directories": []any{map[string]any{"flag": "--crio", "name": "registries", "path": "/etc/containers", "readOnly": false}},
	})
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	data := objects[0].Object["data"].(map[string]any)
	if objects[0].GetKind() != "ConfigMap" || data["mirror.json"] != config {
		t.Errorf("the first is %v", objects[0].Object)
	}
	if objects[1].GetKind() != "DaemonSet" || objects[1].GetName() != "caisson-mirror-acme" {
		t.Errorf("the second is %v", objects[1].Object)
	}
	if _, err := RenderOurs(t.Context(), "node-agent", map[string]any{"stacks": "acme"}); err == nil {
		t.Error("a value that the chart does not know passed")
	}
}
