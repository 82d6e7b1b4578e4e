package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The one network: the control plane, the site registry and the name server
// are the gateway, nodes follow.
const (
	gateway      = "10.77.0.1"
	siteRegistry = gateway + ":5000"
)

var nodes = []string{"n1", "n2"}

func nodeAddress(i int) string { return fmt.Sprintf("10.77.0.%d", 11+i) }

// lab is the cluster inside the namespaces.
type lab struct {
	state string
	names *nameServer
	kube  string         // the multi-call binary
	nodes map[string]int // process id of the parent of each node's first process
}

// newLab makes the network, the name server and the control plane. Nothing in
// here has a route to anywhere else.
func newLab(t *testing.T, state string) *lab {
	t.Helper()
	l := &lab{state: state, nodes: map[string]int{}, kube: filepath.Join(os.Getenv(envCluster), "kube")}
	l.shell(t, `mount -t tmpfs tmpfs /run; mkdir /run/netns /run/lock
		echo "nameserver $GATEWAY" >/run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf
		ip link set lo up
		ip link add site0 type bridge; ip addr add $GATEWAY/24 dev site0; ip link set site0 up`)
	l.names = startNameServer(t, gateway+":53")
	for _, c := range chain {
		l.names.set(c.name+"."+c.name, c.address)
	}
	return l
}

func (l *lab) environment() []string {
	return append(os.Environ(),
		"STATE="+l.state, "GATEWAY="+gateway, "REGISTRY="+siteRegistry, "PAUSE="+siteRegistry+"/"+pauseImage,
		"CGROUP="+os.Getenv(envCgroup), "CLUSTER_BIN="+os.Getenv(envCluster), "NODE_BIN="+os.Getenv(envNode),
		"KUBECONFIG="+filepath.Join(l.state, "cluster", "kubeconfig"), "HOME="+l.state)
}

func (l *lab) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, args...)
	command.Env, command.Dir = l.environment(), l.state
	return command
}

// run runs a command and returns what it prints.
func (l *lab) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := l.try(t.Context(), name, args...)
	check(t, err)
	return out
}

func (l *lab) try(ctx context.Context, name string, args ...string) (string, error) {
	command := l.command(ctx, name, args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s%s", filepath.Base(name), strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), err
}

func (l *lab) shell(t *testing.T, script string) string {
	t.Helper()
	return l.run(t, "bash", "-euc", script)
}

// kubectl runs kubectl as the administrator.
func (l *lab) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return l.run(t, l.kube, append([]string{"kubectl"}, args...)...)
}

// background starts a command that runs until the test ends, by the given
// signal; its output goes to LOG.log.
func (l *lab) background(t *testing.T, log string, end os.Signal, command *exec.Cmd) {
	t.Helper()
	file, err := os.Create(filepath.Join(l.state, log+".log"))
	check(t, err)
	defer file.Close()
	command.Stderr = file
	if command.Stdout == nil {
		command.Stdout = file
	}
	check(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Signal(end)
		_ = command.Wait()
	})
}

// startControlPlane returns when the API is ready.
func (l *lab) startControlPlane(t *testing.T) {
	t.Helper()
	args := []string{"up", "-dir", filepath.Join(l.state, "cluster"), "-nodes", "0", "-address", gateway}
	for i, name := range nodes {
		args = append(args, "-kubelet", name+"="+nodeAddress(i))
	}
	command := l.command(context.Background(), l.kube, args...)
	out, in, err := os.Pipe()
	check(t, err)
	command.Stdout = in
	l.background(t, "kube-up", syscall.SIGTERM, command)
	check(t, in.Close())
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("the control plane did not start:\n" + l.log("kube-up"))
	}
	t.Cleanup(func() { _ = out.Close() })
}

func (l *lab) log(name string) string {
	text, err := os.ReadFile(filepath.Join(l.state, name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-6<<10):])
}

// startNodes returns when both nodes are Ready.
func (l *lab) startNodes(t *testing.T) {
	t.Helper()
	for i, name := range nodes {
		l.startNode(t, i, name)
	}
	for _, name := range nodes {
		l.waitFor(t, 2*time.Minute, "node "+name, func() error {
			_, err := l.try(t.Context(), l.kube, "kubectl", "wait", "--for=condition=Ready", "node/"+name, "--timeout=60s")
			if err != nil {
				return fmt.Errorf("%w\n%s\n%s", err, l.log("containerd-"+name), l.log("kubelet-"+name))
			}
			return nil
		})
	}
}

// startNode links a network namespace to the bridge and starts the node in it.
// Addresses of Services need some route for kube-proxy to turn them.
func (l *lab) startNode(t *testing.T, i int, name string) {
	t.Helper()
	l.shell(t, fmt.Sprintf(`ip netns add %[1]s; ip -n %[1]s link set lo up
		ip link add v%[1]s type veth peer name eth0 netns %[1]s; ip link set v%[1]s master site0 up
		ip -n %[1]s addr add %[2]s/24 dev eth0; ip -n %[1]s link set eth0 up
		ip -n %[1]s route add 10.96.0.0/16 via $GATEWAY
		ip route add 10.244.%[3]d.0/24 via %[2]s`, name, nodeAddress(i), i+1))
	for j := range nodes {
		if j != i {
			l.shell(t, fmt.Sprintf("ip -n %s route add 10.244.%d.0/24 via %s", name, j+1, nodeAddress(j)))
		}
	}
	script, err := filepath.Abs("node.sh")
	check(t, err)
	command := l.command(context.Background(), "nsenter", "--net=/run/netns/"+name,
		"unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc",
		script, name, nodeAddress(i), fmt.Sprint(i+1))
	l.background(t, "node-"+name, syscall.SIGKILL, command) // it does not heed SIGTERM
	l.nodes[name] = command.Process.Pid
}

// onNode runs a command in a node's network.
func (l *lab) onNode(name string, args ...string) []string {
	return append([]string{"--net=/run/netns/" + name}, args...)
}

// containerd asks a node's containerd, over its socket.
func (l *lab) containerd(t *testing.T, node string, args ...string) string {
	t.Helper()
	return l.inside(t, node, append([]string{filepath.Join(os.Getenv(envNode), "ctr"), "-n", "k8s.io"}, args...)...)
}

// inside runs a command among a node's files and in its network.
func (l *lab) inside(t *testing.T, node string, args ...string) string {
	t.Helper()
	script := fmt.Sprintf(`exec nsenter -t $(cat /proc/%[1]d/task/%[1]d/children) --mount --net -- "$@"`, l.nodes[node])
	return l.run(t, "bash", append([]string{"-euc", script, "inside"}, args...)...)
}

func (l *lab) waitFor(t *testing.T, limit time.Duration, what string, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func (l *lab) waitForPort(t *testing.T, address string) {
	t.Helper()
	l.waitFor(t, 30*time.Second, address, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}
