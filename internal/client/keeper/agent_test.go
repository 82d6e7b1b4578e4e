package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// agentOptions are those of an agent on a node of the test.
func agentOptions(t *testing.T, c mirror.Config) Options {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Config: filepath.Join(dir, "mirror.json"), Digest: digest.FromBytes(data), Containerd: filepath.Join(dir, "certs.d"), CRIO: filepath.Join(dir, "crio"), Status: filepath.Join(dir, "status.json")}
	if err := errors.Join(os.WriteFile(opt.Config, data, 0o644), os.Mkdir(opt.Containerd, 0o755), os.Mkdir(opt.CRIO, 0o755)); err != nil {
		t.Fatal(err)
	}
	return opt
}

func TestAgentKeepsAndLeaves(t *testing.T) {
	opt := agentOptions(t, sample())
	ctx, cancel := context.WithCancel(t.Context())
	tick, looked, ended := make(chan time.Time), make(chan struct{}, 10), make(chan error)
	opt.Tick = tick
	go func() {
		ended <- Run(ctx, opt, event.Func(func(e event.Event) {
			if e.Kind == event.Info {
				looked <- struct{}{}
			}
		}))
	}()
	<-looked
	file := filepath.Join(opt.Containerd, "ghcr.io", "hosts.toml")
	tick <- time.Time{} // the first look has ended
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	tick <- time.Time{}
	tick <- time.Time{} // the look before has ended
	if _, err := os.Stat(file); err != nil {
		t.Error("the agent does not put back what was removed")
	}
	if s, err := ReadStatus(opt.Status); err != nil || !s.Ready || s.Files != 9 || s.Err() != nil {
		t.Errorf("%+v, %v", s, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("an agent that ends takes its files along")
	}
	opt.Remove, opt.Once = true, true
	if err := Run(t.Context(), opt, event.Discard); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{opt.Containerd, opt.CRIO} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
	if s, err := ReadStatus(opt.Status); err != nil || !s.Removed {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAgentIsNotReady(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(opt *Options)
		want  string
	}{
		"another configuration": {func(o *Options) { o.Digest = digest.FromString("newer") }, "not yet"},
		"a hostile host": {func(o *Options) {
			o.Digest = ""
			_ = os.WriteFile(o.Config, []byte(`{"stack":"a","registry":"r","hosts":["../../etc"]}`), 0o600)
		}, "not a registry's name"},
		"no directory": {func(o *Options) { o.CRIO += "/none" }, "none"},
		"containerd elsewhere": {func(o *Options) {
			o.RuntimeDir = filepath.Dir(o.Config)
			_ = os.WriteFile(filepath.Join(o.RuntimeDir, "config.toml"), []byte("version = 2\n"), 0o600)
		}, "config.toml sets no config_path"},
	} {
		opt := agentOptions(t, sample())
		opt.Once = true
		c.spoil(&opt)
		err := Run(t.Context(), opt, event.Discard)
		if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v", name, err)
		}
		if s, err := ReadStatus(opt.Status); err != nil || s.Ready || !errors.Is(s.Err(), ErrConflict) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// TestRemovalPassesWhatWasNeverOurs: else a node where something stood in the
// way could not be left.
func TestRemovalPassesWhatWasNeverOurs(t *testing.T) {
	opt := agentOptions(t, sample())
	opt.Once = true
	if err := os.Symlink(t.TempDir(), filepath.Join(opt.Containerd, "ghcr.io")); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), opt, event.Discard); !errors.Is(err, ErrConflict) {
		t.Errorf("error is %v", err)
	}
	opt.Remove = true
	if err := Run(t.Context(), opt, event.Discard); err != nil {
		t.Error(err)
	}
	s, err := ReadStatus(opt.Status)
	if err != nil || !s.Removed || len(s.Warnings) == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	left, err := os.ReadDir(opt.Containerd)
	if err != nil || len(left) != 1 || left[0].Name() != "ghcr.io" {
		t.Errorf("%v, %v", left, err)
	}
}

func TestCheckContainerd(t *testing.T) {
	const table = `[plugins."io.containerd.grpc.v1.cri".registry]` + "\nconfig_path = "
	const newer = `[plugins."io.containerd.cri.v1.images".registry]` + "\nconfig_path = "
	for name, c := range map[string]struct {
		files map[string]string
		want  error
	}{
		"version 2":     {map[string]string{"config.toml": "version = 2\n" + table + `"/etc/containerd/certs.d"`}, nil},
		"version 3":     {map[string]string{"config.toml": "version = 3\n" + newer + `'/etc/containerd/certs.d/'`}, nil},
		"unset":         {map[string]string{"config.toml": "version = 2\n" + table + `""`}, ErrNotRead},
		"unset, newer":  {map[string]string{"config.toml": "version = 3\n"}, ErrDoubtful},
		"elsewhere":     {map[string]string{"config.toml": table + `"/opt/certs"`}, ErrNotRead},
		"several":       {map[string]string{"config.toml": newer + `"/etc/containerd/certs.d:/etc/docker/certs.d"`}, ErrDoubtful},
		"no file":       {nil, ErrDoubtful},
		"imported":      {map[string]string{"config.toml": `imports = ["/etc/containerd/conf.d/*.toml"]`, "conf.d/a.toml": table + `"/etc/containerd/certs.d"`}, nil},
		"beyond":        {map[string]string{"config.toml": "version = 2\nimports = [\"/opt/x.toml\"]"}, ErrDoubtful},
		"nothing there": {map[string]string{"config.toml": "imports = [\"conf.d/*.toml\"]"}, ErrNotRead},
	} {
		n := newNode(t, c.files)
		if err := CheckContainerd(n.dir); !errors.Is(err, c.want) {
			t.Errorf("%s: error is %v, want %v", name, err, c.want)
		}
	}
	n := newNode(t, map[string]string{"config.toml": "= ="})
	if err := CheckContainerd(n.dir); err == nil || errors.Is(err, ErrNotRead) {
		t.Errorf("damaged: error is %v", err)
	}
}
