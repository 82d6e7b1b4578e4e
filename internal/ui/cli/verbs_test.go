package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/command/serve"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// TestEventsNameTheirVerb: who reads the events of several verbs knows whose they
// are, also where a lower layer speaks, such as about a bundle that has expired.
func TestEventsNameTheirVerb(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{Expires: "2026-02-01T00:00:00Z"})
	paths, keys, absent := []string{b.Dir}, []string{b.KeyFile}, filepath.Join(t.TempDir(), "absent.yaml")
	for verb, run := range map[string]func(context.Context, event.Sink) error{
		"load": func(ctx context.Context, sink event.Sink) error {
			_, err := load.Run(ctx, load.Options{Paths: paths, Keys: keys, Registry: "127.0.0.1:1", AllowExpired: true}, sink)
			return err
		},
		"serve": func(ctx context.Context, sink event.Sink) error {
			_, err := serve.Run(ctx, serve.Options{Paths: paths, Keys: keys, Listen: "256.0.0.1:1", AllowExpired: true}, sink)
			return err
		},
		"plan": func(ctx context.Context, sink event.Sink) error {
			_, err := preflight.Run(ctx, preflight.Options{Paths: paths, Keys: keys, Site: absent, AllowExpired: true}, sink)
			return err
		},
		"preflight": func(ctx context.Context, sink event.Sink) error {
			_, err := preflight.Preflight(ctx, preflight.Options{Paths: paths, Keys: keys, Site: absent, AllowExpired: true}, sink)
			return err
		},
		"install": func(ctx context.Context, sink event.Sink) error {
			_, err := install.Run(ctx, install.Options{Plan: emptyPlan(t), Bundles: paths, Keys: keys, AllowExpired: true}, sink)
			return err
		},
	} {
		warned := false
		err := run(t.Context(), event.Func(func(e event.Event) {
			if e.Verb != verb {
				t.Errorf("%s: the verb of %+v is %q", verb, e, e.Verb)
			}
			warned = warned || strings.Contains(e.Message, "using an expired bundle")
		}))
		if err == nil || !warned {
			t.Errorf("%s: %v; a warning of the expired bundle: %v", verb, err, warned)
		}
	}
}

// emptyPlan writes a plan that installs nothing from no known bundle.
func emptyPlan(t *testing.T) string {
	t.Helper()
	path, any := filepath.Join(t.TempDir(), "plan.json"), digest.FromString("")
	p := plan.Plan{APIVersion: plan.APIVersion, Kind: plan.Kind, Name: "demo", Index: any, Lock: any}
	p.Site.Registry.Address, p.Site.Digest, p.Cluster.Digest = "registry.site", any, plan.Bind("", "")
	if err := plan.Write(path, &p); err != nil {
		t.Fatal(err)
	}
	return path
}
