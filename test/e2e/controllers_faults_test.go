package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Exit codes of caisson, as its help lists them.
const (
	exitFailed      = 1
	exitNotTrusted  = 3
	exitNotReady    = 6
	exitInterrupted = 130
)

// mustFail runs caisson, which must end with an exit code and say all of words.
func (r *road) mustFail(t *testing.T, code int, words []string, args ...string) string {
	t.Helper()
	out, err := r.tryCaissonFor(t, installLimit, args...)
	r.wantFailure(t, out, err, code, words)
	return out
}

// wantFailure wants an exit code and words, wherever lines are broken.
func (r *road) wantFailure(t *testing.T, out string, err error, code int, words []string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("it ends with %v, not %d:\n%s\n%s", err, code, out, r.situation(t))
	}
	wantWords(t, out, words...)
}

func wantWords(t *testing.T, out string, words ...string) {
	t.Helper()
	text := strings.Join(strings.Fields(out), " ")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, out)
		}
	}
}

// command in the background whose output can be read while it runs.
type running struct {
	command *exec.Cmd
	mu      sync.Mutex
	out     bytes.Buffer
}

func (c *running) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *running) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// start starts caisson in the road's directory.
func (r *road) start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	c := &running{command: r.lab.command(ctx, os.Getenv(envBinary), args...)}
	c.command.Dir = r.dir
	c.command.Stdout, c.command.Stderr = c, c
	check(t, c.command.Start())
	t.Cleanup(cancel)
	return c
}

// waitToSay waits until a command has said words.
func (r *road) waitToSay(t *testing.T, c *running, words string) {
	t.Helper()
	r.waitFor(t, 3*time.Minute, strconv.Quote(words), func() error {
		if out := c.said(); !strings.Contains(strings.Join(strings.Fields(out), " "), words) {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})
}

// signal sends a signal to the processes of the pods that a selector names, those that run
// the given program.
func (r *road) signal(t *testing.T, namespace, selector, program string, s syscall.Signal) {
	t.Helper()
	sent := 0
	for _, uid := range strings.Fields(r.kubectl(t, "get", "pods", "-n", namespace, "-l", selector, "-o", "jsonpath={.items[*].metadata.uid}")) {
		groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
		check(t, err)
		for _, group := range groups {
			text, _ := os.ReadFile(group) // the process may have ended
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(group), "cmdline"))
			if !bytes.Contains(text, []byte("pod"+uid)) || !bytes.HasPrefix(command, []byte(program)) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(group)))
			check(t, err)
			check(t, syscall.Kill(pid, s))
			sent++
		}
	}
	if sent == 0 {
		t.Fatalf("no pod of %s in %s runs %s", selector, namespace, program)
	}
}

const (
	queueNamespace = "kueue-system"
	queuePods      = "control-plane=controller-manager"
	queueService   = "kueue-system/kueue-webhook-service has no ready endpoint"
)

// removeQueue takes Kueue's only pod away, as somebody does who means to be quick.
func (r *road) removeQueue(t *testing.T) {
	t.Helper()
	r.kubectl(t, "scale", "deployment/kueue-controller-manager", "-n", queueNamespace, "--replicas=0")
	r.kubectl(t, "wait", "--for=delete", "pod", "-l", queuePods, "-n", queueNamespace, "--timeout=60s")
}

func (r *road) status(t *testing.T) string {
	t.Helper()
	return r.caisson(t, "status", "--state-dir", "state")
}

// checkQuiet checks that status finds no drift for as long as the environment asks, which
// is not at all unless somebody asks. It looks a few times a minute. That a pod misses a
// probe on a busy machine is no drift.
func (r *road) checkQuiet(t *testing.T) {
	t.Helper()
	limit, err := time.ParseDuration(os.Getenv(envQuiet))
	if err != nil {
		return
	}
	began, next, looks := time.Now(), time.Now(), 0
	r.waitFor(t, limit+time.Minute, "the quiet time to end", func() error {
		if time.Now().Before(next) {
			return errors.New("it goes on")
		}
		next = time.Now().Add(20 * time.Second)
		r.wantNoDrift(t)
		if looks++; time.Since(began) < limit {
			return errors.New("it goes on")
		}
		return nil
	})
	t.Logf("status found no drift in %d looks within %s", looks, limit)
}

func (r *road) wantNoDrift(t *testing.T) {
	t.Helper()
	out, _ := r.tryCaisson(t, "status", "--state-dir", "state", "--output", "json")
	seen := 0
	for line := range strings.Lines(out) {
		var e struct {
			Kind   string
			Fields struct {
				Components []struct {
					Name    string
					Drifted bool
					Why     []string
				}
			}
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.Kind != "result" {
			continue
		}
		for _, c := range e.Fields.Components {
			if seen++; c.Drifted {
				t.Errorf("%s drifted: %q", c.Name, c.Why)
			}
		}
	}
	if seen == 0 {
		t.Errorf("status has no result:\n%s", out)
	}
}

// checkHandChange changes a Deployment by hand and takes Kueue away, whose webhook guards
// that Deployment: status names both, and installing again puts both right, Kueue first.
func (r *road) checkHandChange(t *testing.T) {
	t.Helper()
	r.kubectl(t, "set", "env", "deployment/cert-manager", "-n", "cert-manager", "BY_HAND=1")
	r.mustFail(t, exitNotReady, []string{"Deployment cert-manager/cert-manager: spec.template.spec.containers[cert-manager-controller].env[BY_HAND] was changed"},
		"status", "--state-dir", "state")
	r.removeQueue(t)
	out := r.mustFail(t, exitNotReady, []string{queueService, "could not be compared"}, "status", "--state-dir", "state")
	if n := strings.Count(out, "\n"); n > 80 {
		t.Errorf("status says it in %d lines:\n%s", n, out)
	}
	out = r.mustCaisson(t, installLimit, "install", "plan.json", "--state-dir", "state")
	wantWords(t, out, "kueue: its webhooks do not answer: it goes first", "cert-manager done", "kueue done", "jobset skipped")
	r.status(t)
	if env := r.kubectl(t, "get", "deployment/cert-manager", "-n", "cert-manager", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}"); strings.Contains(env, "BY_HAND") {
		t.Errorf("the environment is still %s", env)
	}
}

// checkHanging stops Kueue's process in the middle of an installation, which takes
// connections and answers nothing: the installation says so, and goes on once Kueue does.
func (r *road) checkHanging(t *testing.T) {
	t.Helper()
	r.kubectl(t, "set", "env", "deployment/cert-manager", "-n", "cert-manager", "BY_HAND=1")
	r.signal(t, queueNamespace, queuePods, "/manager", syscall.SIGSTOP)
	c := r.start(t, "install", "plan.json", "--state-dir", "state")
	r.waitToSay(t, c, "webhooks do not answer")
	r.signal(t, queueNamespace, queuePods, "/manager", syscall.SIGCONT)
	if err := c.command.Wait(); err != nil {
		t.Fatalf("with a webhook that hung: %v\n%s\n%s", err, c.said(), r.situation(t))
	}
	r.status(t)
}

// checkFailingVersion installs a version with a TrainJob that the quota can never admit
// and a model that no node has room for: both say why, and what was there before stays.
func (r *road) checkFailingVersion(t *testing.T) {
	t.Helper()
	before := r.generations(t)
	newer := r.packNewer(t)
	newer.mustFail(t, exitNotReady, []string{
		"component training failed and was rolled back: TrainJob training/large: not ready in time",
		"is not admitted by Kueue", "insufficient quota for cpu in flavor cpu",
		"component models failed and was rolled back: InferenceService models/tiny", "cannot be scheduled: 0/2 nodes are available: 2 Insufficient cpu",
	}, "install", "plan.json", "--timeout", "40s", "--state-dir", "../controllers/state")
	r.mustFail(t, exitNotReady, []string{"install of 1.1.0 is failed", "training ready", "models ready"}, "status", "--state-dir", "state")
	if pods := r.kubectl(t, "get", "pods", "-n", "training", "-o", "name"); strings.Count(pods, "\n") != 2 {
		t.Errorf("after going back there are %s", pods)
	}
	r.mustFail(t, exitNotTrusted, []string{"caisson rollback"}, "install", "plan.json", "--state-dir", "state")
	r.mustCaisson(t, installLimit, "rollback", "--state-dir", "state")
	r.mustCaisson(t, installLimit, "install", "plan.json", "--state-dir", "state")
	wantWords(t, r.status(t), "controllers 1.0.0")
	r.waitFor(t, time.Minute, "everything to be as before", func() error { return sameObjects(before, r.generations(t)) })
}

// largeJob stands before the TrainJob of the stack: one that asks for twice the quota.
const largeJob = `kind: TrainJob
metadata:
  name: large
  namespace: training
  labels: {kueue.x-k8s.io/queue-name: team}
spec:
  runtimeRef: {name: torch-distributed}
  trainer:
    numNodes: 2
    resourcesPerNode:
      requests: {cpu: 2, memory: 64Mi}
---
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
`

// passing is what going back and forth leaves by itself, or changes of an object that is as
// it was: its count of changes. Status compares the content.
var (
	passing  = regexp.MustCompile(`caisson|^ReplicaSet/`)
	counting = regexp.MustCompile(` \d+$`)
)

func sameObjects(before, after []string) error {
	strip := func(list []string) (out []string) {
		for _, s := range list {
			if !passing.MatchString(s) {
				out = append(out, counting.ReplaceAllString(s, ""))
			}
		}
		return out
	}
	return same(strip(before), strip(after))
}

// packNewer packs the stack's next version, loads and plans it.
func (r *road) packNewer(t *testing.T) *road {
	t.Helper()
	newer := &road{lab: r.lab, endpoint: r.endpoint, strategy: r.strategy, dir: filepath.Join(r.state, "newer")}
	check(t, os.Mkdir(newer.dir, 0o700))
	check(t, os.CopyFS(filepath.Join(newer.dir, "keys"), os.DirFS(filepath.Join(r.dir, "keys"))))
	for name, edits := range map[string][]string{
		"stack.yaml":        {"version: 1.0.0}", "version: 1.1.0}", "name: sum, condition", "name: large, condition"},
		"training.yaml":     {"kind: TrainJob\n", largeJob},
		"model.yaml":        {"cpu: 50m", "cpu: 64", "cpu: 500m", "cpu: 64"},
		"certificates.yaml": nil, "queues.yaml": nil, "volume.yaml": nil, "upstreams.yaml": nil, "site.yaml": nil,
	} {
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		check(t, err)
		for i := 0; i < len(edits); i += 2 {
			if !bytes.Contains(text, []byte(edits[i])) {
				t.Fatalf("%s does not say %q", name, edits[i])
			}
			text = bytes.ReplaceAll(text, []byte(edits[i]), []byte(edits[i+1]))
		}
		check(t, os.WriteFile(filepath.Join(newer.dir, name), text, 0o600))
	}
	newer.caisson(t, "resolve", "-f", "stack.yaml", "--upstreams", "upstreams.yaml", "-o", "stack.lock.yaml")
	newer.caisson(t, "pack", "stack.lock.yaml", "--upstreams", "upstreams.yaml", "-o", "out", "--signing-key", "keys/caisson.key", "--reuse", filepath.Join(r.dir, "out"))
	newer.caisson(t, "load", "out", "--key", "keys/caisson.pub", "--registry", siteRegistry, "--plain-http")
	newer.caisson(t, "plan", "out", "--key", "keys/caisson.pub", "--site", "site.yaml", "-o", "plan.json", "--state-dir", "../controllers/state")
	return newer
}

// userObjects are what somebody made of the kinds that the stack brought.
const userObjects = `apiVersion: v1
kind: Namespace
metadata: {name: science}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: own, namespace: science}
spec: {selfSigned: {}}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: own, namespace: science}
spec: {clusterQueue: lab}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: own, namespace: science}
spec:
  predictor:
    containers:
      - {name: kserve-container, image: "ghcr.io/acme/predictor:1", resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 64Mi}}}
`

// checkUserObjects makes objects of users, and checks that uninstall shows them and
// removes nothing under them.
func (r *road) checkUserObjects(t *testing.T) {
	t.Helper()
	file := filepath.Join(r.dir, "user.yaml")
	check(t, os.WriteFile(file, []byte(userObjects), 0o600))
	r.kubectl(t, "apply", "-f", file)
	r.waitFor(t, time.Minute, "KServe's finalizer", func() error {
		if f := r.kubectl(t, "get", "inferenceservice/own", "-n", "science", "-o", "jsonpath={.metadata.finalizers}"); f == "" {
			return errors.New("there is none")
		}
		return nil
	})
	before := r.inventory(t)
	words := []string{"science/own", "InferenceService", "Issuer", "LocalQueue"}
	wantWords(t, r.caisson(t, "uninstall", "--preview", "--state-dir", "state"), words...)
	r.mustFail(t, exitFailed, append(words, "--remove-user-objects"), "uninstall", "--purge", "--state-dir", "state")
	check(t, same(before, r.inventory(t)))
}

// checkRoughInstall installs with too little time, twice, then with cert-manager's webhook
// killed and Kueue taken away in the middle, until the operator gives up. The next attempt
// goes on. The site remembers the newer version that it had.
func (r *road) checkRoughInstall(t *testing.T) {
	t.Helper()
	install := []string{"install", "plan.json", "--allow-older", "--state-dir", "state"}
	for range 2 {
		r.mustFail(t, exitNotReady, []string{"not ready in time"}, append(install, "--timeout", "3s")...)
		r.mustFail(t, exitNotReady, []string{"not installed"}, "status", "--state-dir", "state")
	}
	c := r.start(t, install...)
	r.waitForDeployment(t, "cert-manager", "cert-manager-webhook")
	r.signal(t, "cert-manager", "app.kubernetes.io/name=webhook", "/cert-manager", syscall.SIGKILL)
	r.waitForDeployment(t, queueNamespace, "kueue-controller-manager")
	before := len(c.said())
	r.removeQueue(t)
	r.waitFor(t, 3*time.Minute, "words about Kueue", func() error {
		if out := c.said()[before:]; !strings.Contains(out, queueNamespace) {
			return fmt.Errorf("since Kueue went it says\n%s", out)
		}
		return nil
	})
	check(t, c.command.Process.Signal(syscall.SIGINT)) // nobody waits a quarter of an hour
	err := c.command.Wait()
	r.wantFailure(t, c.said(), err, exitInterrupted, nil)
	if out := c.said(); strings.Contains(out, "component cert-manager failed") {
		t.Errorf("one restart of a webhook was too much:\n%s", out)
	}
	r.mustCaisson(t, installLimit, install...)
	r.status(t)
}

func (r *road) waitForDeployment(t *testing.T, namespace, name string) {
	t.Helper()
	r.waitFor(t, 5*time.Minute, "Deployment "+name, func() error {
		_, err := r.try(t.Context(), r.kube, "kubectl", "wait", "--for=condition=Available", "deployment/"+name, "-n", namespace, "--timeout=30s")
		return err
	})
}
