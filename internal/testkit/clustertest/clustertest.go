// Package clustertest gives tests a real Kubernetes control plane: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler and fake nodes, on
// loopback, from the nested module test/cluster.
//
// It is for tests; the product never imports it.
package clustertest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Environment variables that tests heed.
const (
	EnvBin     = "CAISSON_TEST_CLUSTER_BIN" // directory of the built binaries
	EnvRequire = "CAISSON_TEST_REQUIRE"     // non-empty: a missing cluster fails instead of skipping
)

const (
	locateTimeout = 20 * time.Second // to find a finished build
	startTimeout  = 3 * time.Minute
)

// Cluster is one running control plane.
type Cluster struct {
	Kubeconfig string // of an administrator
	Dir        string // logs and pids of the components
	Bin        string // directory of kube and kubectl

	command *exec.Cmd
	stdin   io.Closer
	lines   chan string // what it prints when usable
	wait    func() error
}

var shared struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Start returns the cluster that all tests of the process share, started at the
// first call. Without built binaries the test is skipped, or fails where
// CAISSON_TEST_REQUIRE is set. A package whose tests call it has
//
//	func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	if testing.Short() {
		tb.Skip("a cluster is not for -short")
	}
	shared.once.Do(func() { shared.cluster, shared.err = start() })
	check(tb, shared.err)
	return shared.cluster
}

// Main runs a package's tests and then ends the shared cluster.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.cluster != nil {
		shared.cluster.stop()
	}
	return code
}

// Fresh starts a cluster of the test's own, which ends with it.
func Fresh(tb testing.TB) *Cluster {
	tb.Helper()
	if testing.Short() {
		tb.Skip("a cluster is not for -short")
	}
	c, err := start()
	check(tb, err)
	tb.Cleanup(c.stop)
	return c
}

var errNotBuilt = errors.New("the test cluster is not built: run make cluster")

func check(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, errNotBuilt) && os.Getenv(EnvRequire) == "" {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatalf("starting a cluster: %v", err)
	}
}

func start() (*Cluster, error) {
	bin, err := locate()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "caisson-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: filepath.Join(dir, "state"), Bin: bin, lines: make(chan string, 1)}
	if err := c.run(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

// locate finds the built binaries. They are built here only where they are
// required.
func locate() (string, error) {
	if bin := os.Getenv(EnvBin); bin != "" {
		return bin, nil
	}
	_, here, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(here), "..", "..", "..", "test", "build.sh")
	ctx := context.Background()
	if os.Getenv(EnvRequire) == "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, locateTimeout)
		defer cancel()
	}
	command := exec.CommandContext(ctx, script, "cluster")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	out, err := command.Output()
	if err != nil {
		return "", errors.Join(errNotBuilt, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (c *Cluster) run() error {
	c.command = exec.Command(filepath.Join(c.Bin, "kube"), "up", "-dir", c.Dir, "-nodes", "2", "-exit-with-stdin")
	var log strings.Builder
	c.command.Stderr = &log
	stdin, err := c.command.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := c.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.command.Start(); err != nil {
		return err
	}
	c.stdin, c.wait = stdin, sync.OnceValue(c.command.Wait)
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	if c.Kubeconfig, err = c.usable(); err != nil {
		c.stop()
		return errors.Join(err, errors.New(log.String()))
	}
	return nil
}

// usable waits until the cluster says it can be used.
func (c *Cluster) usable() (string, error) {
	t := time.NewTimer(startTimeout)
	defer t.Stop()
	select {
	case line, ok := <-c.lines:
		if !ok {
			return "", errors.New("the cluster ended by itself")
		}
		return line, nil
	case <-t.C:
		return "", errors.New("the cluster was not usable in time")
	}
}

// RestartAPIServer restarts kube-apiserver and waits until it answers again.
func (c *Cluster) RestartAPIServer(tb testing.TB) {
	tb.Helper()
	if err := c.command.Process.Signal(syscall.SIGHUP); err != nil {
		tb.Fatalf("restarting the API server: %v", err)
	}
	if _, err := c.usable(); err != nil {
		tb.Fatalf("restarting the API server: %v", err)
	}
}

// Kubectl runs kubectl as the administrator and returns what it prints.
func (c *Cluster) Kubectl(tb testing.TB, args ...string) string {
	tb.Helper()
	command := exec.Command(filepath.Join(c.Bin, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		tb.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func (c *Cluster) stop() {
	_ = c.stdin.Close()
	_ = c.wait()
	_ = os.RemoveAll(filepath.Dir(c.Dir))
}
