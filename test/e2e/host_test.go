// Package e2e installs a signed bundle on real Kubernetes nodes that have no
// way out: kubelet, containerd, runc and kube-proxy in namespaces that the test
// makes itself, with caisson serve as their only registry.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Environment variables that the test heeds.
const (
	envCluster     = "CAISSON_TEST_CLUSTER_BIN"     // directory of kube
	envNode        = "CAISSON_TEST_NODE_BIN"        // directory of containerd and the network plugins
	envControllers = "CAISSON_TEST_CONTROLLERS_BIN" // directory of real controllers
	envQuiet       = "CAISSON_TEST_QUIET"           // how long nobody touches the real controllers' stack, while status looks for drift: 10m
	envBinary      = "CAISSON_TEST_BINARY"          // the caisson to test, static
	envState       = "CAISSON_E2E_STATE"            // inside the namespaces: the test's directory
	envCgroup      = "CAISSON_E2E_CGROUP"           // inside: name of the control groups
)

// conditions are what a host must have, each with a command that shows it.
var conditions = []struct{ missing, command string }{
	{"root", `[ "$(id -u)" = 0 ]`},
	{"a command of iproute2, iptables, util-linux or runc", "for c in ip iptables iptables-restore unshare nsenter runc; do command -v $c || { echo $c; exit 1; }; done"},
	{"the right to make namespaces", "unshare --net --mount --pid --uts --fork --mount-proc true"},
	{"control groups of version 1", `cd /sys/fs/cgroup; [ ! -e cgroup.controllers ] || { echo "it has version 2 alone, where the kubelet would change what the machine's own root group hands down (cgroup.subtree_control)"; exit 1; }`},
	{"control groups that can be written", "cd /sys/fs/cgroup && mkdir memory/$$.probe cpuset/$$.probe cpu/$$.probe pids/$$.probe && rmdir */$$.probe"},
	{"tmpfs and overlay file systems", `unshare --mount sh -ec 'mount -t tmpfs tmpfs /mnt; mkdir /mnt/u /mnt/w; mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc'`},
	{"bridge and veth links", "unshare --net sh -ec 'ip link add probe0 type bridge; ip link add probe1 type veth peer name probe2; ip link set probe1 master probe0'"},
	{"iptables with address translation", "unshare --net iptables -t nat -A OUTPUT -p tcp -m comment --comment probe -m addrtype --dst-type LOCAL -j RETURN"},
}

func checkHost(t *testing.T) {
	t.Helper()
	for _, c := range conditions {
		if out, err := exec.Command("sh", "-c", c.command).CombinedOutput(); err != nil {
			t.Skipf("no real node on this host: it lacks %s: %s", c.missing, lastLine(out))
		}
	}
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// TestRealNodes runs TestInside.
func TestRealNodes(t *testing.T) {
	runInside(t, "TestInside", 10*time.Minute, func(string) {})
}

// runInside runs a test in namespaces of its own and looks afterwards at what
// is left of them. prepare fills the test's directory with what the network is
// needed for.
func runInside(t *testing.T, test string, limit time.Duration, prepare func(state string)) {
	if testing.Short() || os.Getenv(envBinary) == "" || os.Getenv(envState) != "" {
		t.Skip("run make e2e")
	}
	checkHost(t)
	sweep(t)
	state, err := os.MkdirTemp("/tmp", "caisson-e2e-")
	check(t, err)
	cgroup := filepath.Base(state)
	t.Cleanup(func() {
		check(t, removeCgroups(cgroup))
		check(t, os.RemoveAll(state))
	})
	buildApp(t, filepath.Join(state, "app"))
	prepare(state)
	before := host(t)
	if err := inside(state, cgroup, test, limit); err != nil {
		t.Fatalf("inside: %v", err)
	}
	check(t, removeCgroups(cgroup))
	compareHost(t, before, host(t))
	if left := processes(t, state); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// buildApp makes the images' program.
func buildApp(t *testing.T, path string) {
	t.Helper()
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./app")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building the images' program: %v: %s", err, out)
	}
}

// inside runs a test where nothing leads out. All of it ends with the first
// process in there, and that one with this.
func inside(state, cgroup, test string, limit time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		self, "-test.run", "^"+test+"$", "-test.v", "-test.timeout", limit.String())
	command.Env = append(os.Environ(), envState+"="+state, envCgroup+"="+cgroup)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command.Run()
}

// sweep removes what a run that was killed left: its directory and its empty
// control groups. Everything else went with its namespaces.
func sweep(t *testing.T) {
	t.Helper()
	old, err := filepath.Glob("/tmp/caisson-e2e-*")
	check(t, err)
	for _, state := range old {
		if len(processes(t, state)) == 0 {
			check(t, removeCgroups(filepath.Base(state)))
			check(t, os.RemoveAll(state))
		}
	}
}

// removeCgroups removes the control groups of a run in every hierarchy. They
// empty a moment after their processes are gone.
func removeCgroups(name string) error {
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = tryRemoveCgroups(name); err == nil {
			return nil
		}
	}
	return err
}

func tryRemoveCgroups(name string) error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return err
	}
	var problems []error
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
				problems = append(problems, fmt.Errorf("removing %s: %w", dir, err))
			}
		}
	}
	return errors.Join(problems...)
}

// host is what a run could leave behind, by kind.
func host(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for kind, script := range map[string]string{
		"links":              "ip -o link | cut -d: -f2 | sort",
		"routes":             "ip route | sort",
		"network namespaces": "ip netns list | sort",
		"mounts":             "cut -d' ' -f5 /proc/self/mountinfo | sort",
		"control groups":     "ls -d /sys/fs/cgroup/*/caisson-e2e-* 2>/dev/null || true",
		"firewall rules":     "iptables -S; iptables -t nat -S",
		"directories":        "ls -d /opt/containerd /opt/cni /usr/libexec/kubernetes /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /var/log/containers /etc/containerd /etc/cni 2>/dev/null || true",
		"settings":           "cat /proc/sys/vm/overcommit_memory /proc/sys/kernel/panic /proc/sys/kernel/panic_on_oops",
	} {
		out, err := exec.Command("sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("looking at the host's %s: %v: %s", kind, err, out)
		}
		found[kind] = string(out)
	}
	return found
}

// processes are the command lines of those that know the state directory.
func processes(t *testing.T, state string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	check(t, err)
	var found []string
	for _, p := range all {
		command, _ := os.ReadFile(p + "/cmdline") // it may have ended
		environment, _ := os.ReadFile(p + "/environ")
		if bytes.Contains(append(environment, command...), []byte(state)) {
			found = append(found, string(command))
		}
	}
	return found
}

func compareHost(t *testing.T, before, after map[string]string) {
	t.Helper()
	for kind := range before {
		if before[kind] != after[kind] {
			t.Errorf("the host's %s before:\n%s\nafter:\n%s", kind, before[kind], after[kind])
		}
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
