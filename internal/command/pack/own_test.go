package pack_test

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
	"github.com/caisson/caisson/internal/command/verify"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

const agentStack = `apiVersion: caisson.dev/v1alpha1
kind: Stack
metadata: {name: own, version: 1.0.0}
platforms: [linux/amd64]
agent: true
components:
  - {name: a, manifests: [a.yaml]}
`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAgentIsPackedFromTheBinary resolves and packs with one binary, and
// refuses to pack with another.
func TestAgentIsPackedFromTheBinary(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "stack.yaml"), agentStack)
	write(t, filepath.Join(dir, "a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
	binary := stacktest.Binary(t, elf.EM_X86_64, "the agent")
	lockFile := filepath.Join(dir, "lock.yaml")
	r, err := resolve.Run(t.Context(), resolve.Options{Stack: filepath.Join(dir, "stack.yaml"), Output: lockFile, Agent: binary}, nil)
	if err != nil {
		t.Fatal(err)
	}
	it := r.Lock.Tool()
	if it == nil || it.Manifests()[0].Platform != "linux/amd64" || len(it.Components) != 0 {
		t.Fatalf("%+v", it)
	}
	if again, err := lock.Read(lockFile); err != nil || again.Tool().Digest != it.Digest {
		t.Errorf("the lock read again: %v", err)
	}

	w := &world{t: t}
	key, public := w.key()
	opt := pack.Options{Lock: lockFile, Output: filepath.Join(out, "bad"), Key: key, Agent: stacktest.Binary(t, elf.EM_X86_64, "another build")}
	if _, err := pack.Run(t.Context(), opt, nil); !errors.Is(err, pack.ErrLocalChanged) {
		t.Errorf("packing with another build: %v", err)
	}
	opt.Output, opt.Agent = filepath.Join(out, "good"), binary
	w.pack(opt)
	v, err := verify.Run(t.Context(), verify.Options{Paths: []string{opt.Output}, Keys: []string{public}}, event.Discard)
	if err != nil {
		t.Errorf("%+v, %v", v, err)
	}
	if !slices.ContainsFunc(r.Lock.Slots(), func(s lock.Slot) bool { return s.Digest == it.Manifests()[0].Layers[0].Digest }) {
		t.Error("the agent's layer is no payload")
	}
}

// TestAgentMustBeStatic wants the reason in resolve's list of problems.
func TestAgentMustBeStatic(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stack.yaml"), agentStack)
	write(t, filepath.Join(dir, "a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
	script := filepath.Join(dir, "caisson.sh")
	write(t, script, "#!/bin/sh\n")
	_, err := resolve.Run(t.Context(), resolve.Options{Stack: filepath.Join(dir, "stack.yaml"), Output: filepath.Join(dir, "lock.yaml"), Agent: script}, nil)
	if !errors.Is(err, agent.ErrNotStatic) {
		t.Errorf("error is %v", err)
	}
}
