package helm

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/caisson/caisson/internal/api/stack"
)

// What a stack says in a file goes over what the stack that it extends says in words.
func TestValuesOfAStackGoOverThoseOfTheOneItExtends(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"base.yaml": "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: base, version: 1.0.0}\nplatforms: [linux/amd64]\ncomponents:\n" +
			"  - {name: web, charts: [{name: web, source: \"oci://ghcr.io/acme/web\", version: 1.0.0, values: {mode: base, kept: 1}, valuesFiles: [v.yaml]}]}\n",
		"v.yaml":    "mode: file\nlow: base\n",
		"own.yaml":  "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: own, version: 1.0.0}\nextends: ./base.yaml\ncomponents:\n  - {name: web, charts: [{name: web, valuesFiles: [mine.yaml], values: {top: own}}]}\n",
		"mine.yaml": "mode: mine\ntop: file\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := stack.ReadStack(filepath.Join(dir, "own.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadValues(&s.Components[0].Charts[0])
	want := map[string]any{"mode": "mine", "kept": int64(1), "low": "base", "top": "own"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
