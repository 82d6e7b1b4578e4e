// Package smoke tests a built kube binary from outside: it imports none of
// what the binary is made of and compiles at once.
//
// CAISSON_TEST_CLUSTER_BIN names the directory of the binary. Without it the
// tests are skipped, or fail if CAISSON_TEST_REQUIRE is set.
package smoke

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const deadline = 2 * time.Minute

// cluster is a running "kube up".
type cluster struct {
	t      *testing.T
	bin    string
	state  string
	up     *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Scanner
	stderr *bytes.Buffer
}

// start runs "kube up" and waits until the cluster is usable.
func start(t *testing.T, args ...string) *cluster {
	t.Helper()
	dir := os.Getenv("CAISSON_TEST_CLUSTER_BIN")
	if dir == "" {
		const message = "CAISSON_TEST_CLUSTER_BIN is not set; test/build.sh cluster prints its value"
		if os.Getenv("CAISSON_TEST_REQUIRE") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	c := &cluster{t: t, bin: filepath.Join(dir, "kube"), state: filepath.Join(t.TempDir(), "state"), stderr: new(bytes.Buffer)}
	c.up = exec.Command(c.bin, append([]string{"up", "-dir", c.state, "-exit-with-stdin"}, args...)...)
	c.up.Stderr = c.stderr
	stdin, err := c.up.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin, c.stdout = stdin, bufio.NewScanner(stdout)
	if err := c.up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stdin.Close()
		c.up.Wait()
	})
	c.usable()
	return c
}

// usable waits for the line that says so.
func (c *cluster) usable() {
	c.t.Helper()
	want := filepath.Join(c.state, "kubeconfig")
	if !c.stdout.Scan() || c.stdout.Text() != want {
		c.up.Wait()
		c.t.Fatalf("kube up printed %q, want %q; standard error:\n%s", c.stdout.Text(), want, c.stderr)
	}
}

// kubectl runs kubectl with the input and returns its output.
func (c *cluster) kubectl(stdin string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(c.bin, append([]string{"kubectl", "--kubeconfig", filepath.Join(c.state, "kubeconfig")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// wait waits until each object has the condition.
func (c *cluster) wait(condition string, objects ...string) {
	c.t.Helper()
	c.kubectl("", append([]string{"wait", "--timeout", deadline.String(), "--for", condition}, objects...)...)
}

// pids are the processes of the cluster, by component.
func (c *cluster) pids() map[string]int {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.state, "*.pid"))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("no process ids in %s: %v", c.state, err)
	}
	pids := map[string]int{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".pid")
		if pids[name], err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			c.t.Fatal(err)
		}
	}
	return pids
}

// alive says whether the process runs; a dead one that nobody has waited for
// does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return !bytes.HasPrefix(rest, []byte("Z"))
}

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: registry.example/web:1, resources: {limits: {nvidia.com/gpu: 4}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: good}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: job, image: registry.example/job:1}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {test.caisson.dev/outcome: fail}}
    spec:
      restartPolicy: Never
      containers: [{name: job, image: registry.example/job:1}]
`

// largeCRD is a definition that no client-side apply could annotate.
func largeCRD() string {
	var b strings.Builder
	b.WriteString(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: larges.test.caisson.dev}
spec:
  group: test.caisson.dev
  names: {kind: Large, plural: larges}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
`)
	for i := range 1200 {
		fmt.Fprintf(&b, "              field%d: {type: string, description: %s}\n", i, strings.Repeat("x", 250))
	}
	return b.String()
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	c := start(t)
	nodes := c.kubectl("", "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.allocatable.nvidia\.com/gpu}{"\n"}{end}`)
	if want := "gpu-1 8\ngpu-2 8\n"; nodes != want {
		t.Errorf("nodes and their GPUs: %q, want %q", nodes, want)
	}
	c.kubectl(workload, "apply", "--server-side", "-f", "-")
	c.wait("condition=Available", "deployment/web")
	c.wait("jsonpath={.status.phase}=Bound", "pvc/data")
	c.wait("condition=Complete", "job/good")
	c.wait("condition=Failed", "job/bad")
	c.kubectl(largeCRD(), "apply", "--server-side", "-f", "-")
	c.wait("condition=Established", "crd/larges.test.caisson.dev")
	proxy := c.kubectl("", "get", "configmap", "extension-apiserver-authentication", "-n", "kube-system", "-o", `jsonpath={.data.requestheader-allowed-names}`)
	if proxy != `["front-proxy"]` {
		t.Errorf("servers of aggregated APIs believe %q", proxy)
	}
}

func TestRestartAndEnd(t *testing.T) {
	t.Parallel()
	c := start(t, "-nodes", "1", "-taint")
	if taint := c.kubectl("", "get", "node", "gpu-1", "-o", "jsonpath={.spec.taints[*].key}"); taint != "nvidia.com/gpu" {
		t.Errorf("taints of gpu-1: %q", taint)
	}
	before := c.pids()
	if err := c.up.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	c.usable()
	c.kubectl("", "get", "node", "gpu-1")
	after := c.pids()
	for name, pid := range after {
		if restarted := pid != before[name]; restarted != (name == "kube-apiserver") {
			t.Errorf("%s restarted: %v", name, restarted)
		}
	}
	c.stdin.Close()
	if err := c.up.Wait(); err != nil {
		t.Errorf("kube up: %v\n%s", err, c.stderr)
	}
	for name, pid := range after {
		if alive(pid) {
			t.Errorf("%s outlived kube up", name)
		}
	}
}

func TestComponentDies(t *testing.T) {
	t.Parallel()
	c := start(t, "-nodes", "0")
	if err := syscall.Kill(c.pids()["kube-scheduler"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.up.Wait(); err == nil || c.up.ProcessState.ExitCode() != 1 {
		t.Errorf("kube up: %v, want exit code 1", err)
	}
	if !strings.Contains(c.stderr.String(), "kube-scheduler ended (signal: killed)") {
		t.Errorf("standard error does not name the component:\n%s", c.stderr)
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	c := start(t, "-nodes", "0")
	pids := c.pids()
	if err := c.up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.up.Wait()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for begin := time.Now(); ; <-ticker.C {
		left := 0
		for _, pid := range pids {
			if alive(pid) {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Since(begin) > deadline {
			t.Fatalf("%d processes outlived kube up", left)
		}
	}
}
