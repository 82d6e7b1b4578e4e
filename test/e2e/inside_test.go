package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
)

// TestInside is the test; TestRealNodes runs it in namespaces.
func TestInside(t *testing.T) {
	state := os.Getenv(envState)
	if state == "" {
		t.Skip("runs inside TestRealNodes")
	}
	began := time.Now()
	app, err := os.ReadFile(filepath.Join(state, "app"))
	check(t, err)
	l := newLab(t, state)
	upstream := startUpstream(t, app)
	l.startControlPlane(t)
	t.Logf("API ready after %.1f s", time.Since(began).Seconds())
	l.startNodes(t)
	t.Logf("nodes Ready after %.1f s", time.Since(began).Seconds())

	for _, strategy := range []string{"rewrite", "mirror"} {
		t.Run(strategy, func(t *testing.T) {
			road := &road{lab: l, endpoint: plainRegistry, strategy: strategy, dir: filepath.Join(state, strategy), links: chain}
			road.test(t, upstream)
		})
	}
	t.Run("stacks", func(t *testing.T) { testStacks(t, l, upstream) })
	l.checkCounting(t)
	t.Logf("memory, each process by itself:\n%s", l.memory(t))
}

// road is one bundle's way from the upstream to the nodes.
type road struct {
	*lab
	endpoint
	strategy, dir string
	links         []link
	sequence      int // the bundle's; 0: the moment it is packed
	lock          *lock.Lock
}

// endpoint is the site registry.
type endpoint struct {
	address string
	ca      string // file with its authority, "" for plain HTTP
}

var plainRegistry = endpoint{address: siteRegistry}

func (r *road) test(t *testing.T, upstream string) {
	began := time.Now()
	check(t, os.Mkdir(r.dir, 0o700))
	writeStack(t, r.dir, upstream, stack{"chain", "1.0.0", r.links, r.strategy == "mirror"})
	r.pack(t)
	r.serve(t)
	before, files := r.inventory(t), r.mirrors(t)

	r.writeSite(t)
	if r.strategy == "mirror" { // whose bundle has caisson's own image
		r.checkProbe(t)
	}
	r.caisson(t, "plan", "out", "--key", "keys/caisson.pub", "--site", "site.yaml", "-o", "plan.json", "--state-dir", "state")
	r.caisson(t, "install", "plan.json", "--state-dir", "state")
	t.Logf("installed after %.1f s", time.Since(began).Seconds())

	r.checkPods(t)
	r.checkPause(t)
	r.checkService(t)
	r.checkLogs(t)
	r.checkNames(t)

	r.caisson(t, "uninstall", "--purge", "--state-dir", "state")
	r.waitFor(t, time.Minute, "the cluster to be as before", func() error {
		return same(before, r.inventory(t))
	})
	check(t, same(files, r.mirrors(t)))
	r.forgetImages(t)
	r.checkNames(t)
	t.Logf("done after %.1f s", time.Since(began).Seconds())
}

// caisson runs a verb in the road's directory.
func (r *road) caisson(t *testing.T, args ...string) string {
	t.Helper()
	out, err := r.tryCaisson(t, args...)
	if err != nil {
		t.Fatalf("caisson %s: %v\n%s\n%s", strings.Join(args, " "), err, out, r.situation(t))
	}
	return out
}

func (r *road) tryCaisson(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return r.tryCaissonFor(t, 4*time.Minute, args...)
}

func (r *road) tryCaissonFor(t *testing.T, limit time.Duration, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	command := r.command(ctx, os.Getenv(envBinary), args...)
	command.Dir = r.dir
	command.Env = append(command.Env, "CAISSON_PASSWORD=e2e")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	out, err := command.CombinedOutput()
	return string(out), err
}

// situation is what the cluster says of itself, for a failure.
func (r *road) situation(t *testing.T) string {
	var b strings.Builder
	for _, args := range [][]string{{"get", "pods", "-A", "-o", "wide"}, {"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"}} {
		out, err := r.try(context.WithoutCancel(t.Context()), r.kube, append([]string{"kubectl"}, args...)...)
		fmt.Fprintln(&b, out, err)
	}
	return b.String()
}

// pack makes a bundle of the stack; how says more to resolve.
func (r *road) pack(t *testing.T, how ...string) {
	t.Helper()
	r.caisson(t, "keys", "generate", "--out", "keys")
	r.caisson(t, append([]string{"resolve", "-f", "stack.yaml", "--upstreams", "upstreams.yaml", "-o", "stack.lock.yaml"}, how...)...)
	r.caisson(t, "pack", "stack.lock.yaml", "--upstreams", "upstreams.yaml", "-o", "out", "--signing-key", "keys/caisson.key", "--sequence", strconv.Itoa(r.sequence))
	r.caisson(t, "verify", "out", "--key", "keys/caisson.pub")
	var err error
	r.lock, err = lock.Read(filepath.Join(r.dir, "stack.lock.yaml"))
	check(t, err)
}

func (r *road) serve(t *testing.T) {
	t.Helper()
	command := r.command(context.Background(), os.Getenv(envBinary), "serve", "out", "--key", "keys/caisson.pub", "--listen", siteRegistry)
	command.Dir = r.dir
	r.background(t, "serve-"+r.strategy, syscall.SIGTERM, command)
	r.waitForPort(t, siteRegistry)
}

func (r *road) writeSite(t *testing.T) {
	t.Helper()
	tls := "plainHTTP: true"
	if r.ca != "" {
		tls = fmt.Sprintf("caFile: %q", r.ca)
	}
	text := fmt.Sprintf("apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nregistry: {mode: external, address: %q, %s}\nreferences: [%s]\n", r.address, tls, r.strategy)
	check(t, os.WriteFile(filepath.Join(r.dir, "site.yaml"), []byte(text), 0o600))
}

// checkPods checks that what runs are the images of the lock, by digest, under
// the names that the strategy gives them, on both nodes.
func (r *road) checkPods(t *testing.T) {
	t.Helper()
	on := map[string]bool{}
	for _, l := range r.links {
		r.waitForLeaving(t, l.name)
		var pods struct {
			Items []struct {
				Spec struct {
					NodeName   string
					Containers []struct{ Image string }
				}
				Status struct {
					Phase             string
					ContainerStatuses []struct {
						ImageID string
						Ready   bool
					}
				}
			}
		}
		check(t, json.Unmarshal([]byte(r.kubectl(t, "get", "pods", "-n", l.name, "-o", "json")), &pods))
		if len(pods.Items) != l.replicas {
			t.Errorf("%s has %d pods", l.name, len(pods.Items))
		}
		want := r.digest(t, l.image)
		for _, pod := range pods.Items {
			on[pod.Spec.NodeName] = true
			if pod.Status.Phase != "Running" || !pod.Status.ContainerStatuses[0].Ready {
				t.Errorf("a pod of %s is %s", l.name, pod.Status.Phase)
			}
			if id := pod.Status.ContainerStatuses[0].ImageID; !strings.HasSuffix(id, "@"+want) {
				t.Errorf("%s runs %s, the lock says %s", l.name, id, want)
			}
			named := pod.Spec.Containers[0].Image
			if rewritten := strings.HasPrefix(named, r.address+"/"); rewritten != strings.Contains(r.strategy, "rewrite") {
				t.Errorf("%s names %s", l.name, named)
			}
			images := r.containerd(t, pod.Spec.NodeName, "images", "ls", "-q")
			if !strings.Contains(images, "@"+want) {
				t.Errorf("%s has the images\n%s", pod.Spec.NodeName, images)
			}
		}
	}
	if len(on) != len(nodes) {
		t.Errorf("pods only on %v", on)
	}
}

// checkPause checks that pods are held by the bundle's own pause image.
func (r *road) checkPause(t *testing.T) {
	t.Helper()
	for _, name := range nodes {
		if images := r.containerd(t, name, "images", "ls", "-q"); !strings.Contains(images, "@"+r.digest(t, pauseImage)) {
			t.Errorf("%s has another pause image:\n%s", name, images)
		}
	}
}

// waitForLeaving returns when no pod of a namespace is about to go.
func (l *lab) waitForLeaving(t *testing.T, namespace string) {
	t.Helper()
	l.waitFor(t, time.Minute, "pods that leave "+namespace, func() error {
		if out := l.kubectl(t, "get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].metadata.deletionTimestamp}"); out != "" {
			return fmt.Errorf("they are to go at %s", out)
		}
		return nil
	})
}

func (r *road) digest(t *testing.T, image string) string {
	t.Helper()
	for _, item := range r.lock.Items {
		if strings.HasSuffix(item.Source, image) {
			return item.Digest.String()
		}
	}
	t.Fatalf("the lock has no %s", image)
	return ""
}

// checkService asks the last of the chain by its Service's address from every
// node: three Services, over both nodes, by name among themselves.
func (r *road) checkService(t *testing.T) {
	t.Helper()
	last := chain[len(chain)-1]
	for _, name := range nodes {
		r.waitFor(t, 30*time.Second, "the Service "+last.name, func() error {
			args := r.onNode(name, filepath.Join(r.state, "app"), "get", "http://"+last.address.String()+"/")
			out, err := r.try(t.Context(), "nsenter", args...)
			if err == nil && out != "web < api < base" {
				err = fmt.Errorf("it answers %q", out)
			}
			return err
		})
	}
}

func (r *road) checkLogs(t *testing.T) {
	t.Helper()
	for _, l := range chain {
		log := r.kubectl(t, "logs", "-n", l.name, "deployment/"+l.name)
		if !strings.Contains(log, l.name+" serves as user 65532") || !strings.Contains(log, l.name+" answers") {
			t.Errorf("the log of %s: %q", l.name, log)
		}
	}
}

// checkNames checks that nobody asked for a name outside, and that somebody
// asked for one inside.
func (r *road) checkNames(t *testing.T) {
	t.Helper()
	if inside, outside := r.names.asked(); len(outside) > 0 || inside == 0 {
		t.Errorf("%d names inside were looked up, and outside %q", inside, outside)
	}
}

// checkCounting shows that a lookup of an outside name would have been counted,
// and that no node has a way out.
func (l *lab) checkCounting(t *testing.T) {
	t.Helper()
	for _, name := range nodes {
		_, before := l.names.asked()
		args := l.onNode(name, filepath.Join(l.state, "app"), "get", "http://ghcr.io/")
		if _, err := l.try(t.Context(), "nsenter", args...); err == nil {
			t.Error("a node reaches ghcr.io")
		}
		if _, after := l.names.asked(); len(after) == len(before) {
			t.Error("a lookup was not counted")
		}
		args = l.onNode(name, filepath.Join(l.state, "app"), "get", "http://192.0.2.1/")
		if _, err := l.try(t.Context(), "nsenter", args...); err == nil || !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("a node has a way out: %v", err)
		}
	}
}

// inventory names every object that an installation could leave, without those
// that come and go by themselves.
func (l *lab) inventory(t *testing.T) []string {
	t.Helper()
	return l.objects(t, "")
}

// objects lists the objects of inventory, each with more of it: a JSONPath.
func (l *lab) objects(t *testing.T, more string) []string {
	t.Helper()
	kinds := strings.Fields(l.kubectl(t, "api-resources", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(kind string) bool {
		return slices.Contains([]string{"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"}, kind)
	})
	objects := strings.Split(strings.TrimSpace(l.kubectl(t, "get", strings.Join(kinds, ","), "-A", "-o",
		`jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}`+more+`{"\n"}{end}`)), "\n")
	slices.Sort(objects)
	return objects
}

// mirrors are the registry settings of each node, with their text.
func (l *lab) mirrors(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, name := range nodes {
		all = append(all, strings.Split(l.shell(t, fmt.Sprintf(
			`cd "$STATE/%s/etc/containerd"; find . -print; find . -type f | sort | xargs sha256sum`, name)), "\n")...)
	}
	slices.Sort(all)
	return all
}

// forgetImages removes all images from the nodes, but for the pause image.
func (l *lab) forgetImages(t *testing.T) {
	t.Helper()
	for _, name := range nodes {
		for _, image := range strings.Fields(l.containerd(t, name, "images", "ls", "-q")) {
			if !strings.Contains(image, "pause") {
				l.containerd(t, name, "images", "rm", "--sync", image)
			}
		}
	}
}

func same(before, after []string) error {
	var problems []string
	for _, s := range after {
		if !slices.Contains(before, s) {
			problems = append(problems, "new: "+s)
		}
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			problems = append(problems, "gone: "+s)
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("not as before:\n%s", strings.Join(problems, "\n"))
	}
	return nil
}

// memory lists the resident size of what runs, in MiB.
func (l *lab) memory(t *testing.T) string {
	t.Helper()
	return l.shell(t, `for p in /proc/[0-9]*; do
		printf '%s %s\n' "$(tr '\0' ' ' <$p/cmdline | cut -d' ' -f1-2 | sed 's|[^ ]*/||g')" "$(awk '/^VmRSS/ {print int($2 / 1024)}' $p/status)"
	done 2>/dev/null | awk 'NF > 1 {n = $NF; $NF = ""; sum[$0] += n; count[$0]++; all += n} END {for (k in sum) print "  " sum[k] " MiB  " count[k] " x " k; print "  " all " MiB in all"}' | sort -rn`)
}
