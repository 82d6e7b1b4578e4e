package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
)

const (
	tlsRegistry = gateway + ":5443"
	certsDir    = "/etc/containerd/certs.d/"
	adminCA     = certsDir + tlsRegistry + "/ca.crt" // where an administrator puts the CA
)

// testStacks brings two stacks out of three bundles, one of them a newer version,
// onto nodes that find everything at one registry with TLS, by a CA of the site's
// own. First the nodes do not trust it.
func testStacks(t *testing.T, l *lab, upstream string) {
	dir := filepath.Join(l.state, "stacks")
	check(t, os.Mkdir(dir, 0o700))
	site, wrong := newAuthority(t, dir, "site-ca"), newAuthority(t, dir, "other-ca")
	https := endpoint{address: tlsRegistry, ca: site.file}
	first := &road{lab: l, endpoint: https, strategy: "mirror", dir: filepath.Join(l.state, "mirror"), links: chain} // packed before
	second := &road{lab: l, endpoint: https, strategy: "mirror", dir: filepath.Join(dir, "v1"), links: extra, sequence: 1}
	third := &road{lab: l, endpoint: https, strategy: "mirror", dir: filepath.Join(dir, "v2"), links: newer, sequence: 2}
	second.packed(t, upstream, stack{"extra", "1.0.0", extra, true})
	third.packed(t, upstream, stack{"extra", "1.1.0", newer, true})
	first.readLock(t)
	l.names.set("side.side", extra[0].address)
	cert, key := site.server(t, dir, gateway)
	l.serveTLS(t, dir, cert, key, first.dir, second.dir, third.dir)
	before, files := l.inventory(t), l.mirrors(t)
	began := time.Now()
	step := func(what string) { t.Logf("%s after %.1f s", what, time.Since(began).Seconds()) }

	first.refuses(t, wrong.file)
	first.fails(t)
	step("refused twice")
	for _, name := range nodes {
		l.put(t, name, adminCA, site.file)
	}
	first.install(t)
	first.checkPods(t)
	first.checkService(t)
	step("the first stack is there")
	second.install(t)
	second.checkPods(t)
	l.checkHosts(t, "chain, extra")
	step("the second stack is there")
	third.install(t)
	third.checkPods(t)
	step("the second stack is the newer version")

	first.caisson(t, "uninstall", "--purge", "--stack", "chain", "--state-dir", "state")
	l.checkHosts(t, "extra")
	third.pullsAgain(t)
	third.checkPods(t)
	step("the first stack is gone")
	third.ownName(t)
	step("references name the registry")
	third.caisson(t, "uninstall", "--purge", "--state-dir", "state")
	l.waitFor(t, time.Minute, "the cluster to be as before", func() error { return same(before, l.inventory(t)) })
	check(t, same(files, l.mirrors(t)))
	first.checkNames(t)
	l.forgetImages(t)
	step("both are gone")
}

// packed makes a bundle.
func (r *road) packed(t *testing.T, upstream string, s stack) {
	t.Helper()
	check(t, os.Mkdir(r.dir, 0o700))
	writeStack(t, r.dir, upstream, s)
	r.pack(t)
}

func (r *road) readLock(t *testing.T) {
	t.Helper()
	var err error
	r.lock, err = lock.Read(filepath.Join(r.dir, "stack.lock.yaml"))
	check(t, err)
}

// serveTLS serves several bundles as one registry.
func (l *lab) serveTLS(t *testing.T, dir, cert, key string, roads ...string) {
	t.Helper()
	args := []string{"serve", "--listen", tlsRegistry, "--tls-cert", cert, "--tls-key", key}
	for _, r := range roads {
		args = append(args, filepath.Join(r, "out"), "--key", filepath.Join(r, "keys", "caisson.pub"))
	}
	command := l.command(context.Background(), os.Getenv(envBinary), args...)
	command.Dir = dir
	l.background(t, "serve-stacks", syscall.SIGTERM, command)
	l.waitForPort(t, tlsRegistry)
}

func (r *road) plan(t *testing.T) (string, error) {
	t.Helper()
	r.writeSite(t)
	return r.tryCaisson(t, "plan", "out", "--key", "keys/caisson.pub", "--site", "site.yaml", "-o", "plan.json", "--state-dir", "state")
}

func (r *road) install(t *testing.T) {
	t.Helper()
	if out, err := r.plan(t); err != nil {
		t.Fatalf("planning: %v\n%s", err, out)
	}
	r.caisson(t, "install", "plan.json", "--state-dir", "state")
}

// refuses plans with a CA that is not the registry's.
func (r *road) refuses(t *testing.T, wrong string) {
	t.Helper()
	right := r.ca
	r.ca = wrong
	out, err := r.plan(t)
	if r.ca = right; err == nil || !strings.Contains(flat(out), "is not proven by the CA in "+wrong) || !strings.Contains(flat(out), "name the CA that signed the registry's certificate") {
		t.Errorf("planning with another CA: %v\n%s", err, out)
	}
}

// fails installs on nodes of which one trusts another CA, and one none.
func (r *road) fails(t *testing.T) {
	t.Helper()
	r.put(t, nodes[0], adminCA, filepath.Join(filepath.Dir(r.ca), "other-ca.crt"))
	out, err := r.plan(t)
	if err != nil || !strings.Contains(flat(out), "each node must trust") || !strings.Contains(flat(out), adminCA) {
		t.Errorf("the plan does not say that nodes must trust the CA: %v\n%s", err, out)
	}
	out, err = r.tryCaisson(t, "install", "plan.json", "--state-dir", "state", "--timeout", "8s")
	for _, want := range []string{"does not trust the site registry's certificate", "x509: certificate signed by unknown authority", "node n1: Failed to pull image", "node n2: Failed to pull image", "put the registry's CA on that node as " + certsDir} {
		if err == nil || !strings.Contains(flat(out), want) {
			t.Fatalf("installing on nodes that do not trust the registry: %v, without %q\n%s", err, want, out)
		}
	}
}

// flat is a text without its line breaks.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// put copies a file onto a node.
func (l *lab) put(t *testing.T, node, path, from string) {
	t.Helper()
	l.inside(t, node, "sh", "-ec", `mkdir -p "$(dirname "$1")"; cp "$2" "$1"`, "put", path, from)
}

// checkHosts checks that every node keeps ghcr.io's mirror for the given stacks,
// over TLS, and that what the administrator put there is alone in its place.
func (l *lab) checkHosts(t *testing.T, stacks string) {
	t.Helper()
	for _, name := range nodes {
		text := l.inside(t, name, "cat", certsDir+"ghcr.io/hosts.toml")
		if !strings.HasPrefix(text, "# Written by caisson for stack "+stacks+".\n") || !strings.Contains(text, `server = "https://`+tlsRegistry) || !strings.Contains(text, `ca = "caisson-ca.crt"`) {
			t.Errorf("%s has\n%s", name, text)
		}
		if others := l.inside(t, name, "sh", "-c", "cd "+certsDir+"; ls -d *"); slices.Contains(strings.Fields(others), "quay.io") != strings.Contains(stacks, "chain") {
			t.Errorf("for %s, %s has %s", stacks, name, others)
		}
		if own := l.inside(t, name, "sh", "-c", "ls "+certsDir+"10.77.0.1*5443*"); strings.TrimSpace(own) != "ca.crt" {
			t.Errorf("beside the administrator's CA, %s has %s", name, own)
		}
	}
}

// pullsAgain takes the stack's images away, and its pods: the next ones have to
// pull through the mirror.
func (r *road) pullsAgain(t *testing.T) {
	t.Helper()
	for _, name := range nodes {
		for _, image := range strings.Fields(r.containerd(t, name, "images", "ls", "-q")) {
			if strings.Contains(image, "acme/side") {
				r.containerd(t, name, "images", "rm", "--sync", image)
			}
		}
	}
	for _, l := range r.links {
		r.kubectl(t, "delete", "pods", "-n", l.name, "--all")
		r.kubectl(t, "wait", "--for=condition=Available", "-n", l.name, "deployment/"+l.name, "--timeout=60s")
		r.waitFor(t, time.Minute, "pods of "+l.name, func() error {
			out := r.kubectl(t, "get", "pods", "-n", l.name, "-o", "jsonpath={.items[*].status.containerStatuses[*].ready}")
			if out != strings.TrimSpace(strings.Repeat("true ", l.replicas)) {
				return fmt.Errorf("ready: %q", out)
			}
			return nil
		})
	}
}

// ownName takes the administrator's CA away: the agent puts one there for the
// registry's own name, by which references then go.
func (r *road) ownName(t *testing.T) {
	t.Helper()
	for _, name := range nodes {
		r.inside(t, name, "rm", "-r", filepath.Dir(adminCA))
	}
	for _, name := range nodes {
		r.waitFor(t, time.Minute, "the registry's own name on "+name, func() error {
			_, err := os.Stat(filepath.Join(r.state, name, "etc/containerd/certs.d", strings.Replace(tlsRegistry, ":", "_", 1)+"_", "hosts.toml"))
			return err
		})
	}
	r.strategy = "mirror, rewrite"
	r.install(t)
	r.checkPods(t)
}
