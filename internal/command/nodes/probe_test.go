package nodes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

func probeOptions(t *testing.T, c *clustertest.Cluster) Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.yaml")
	text := "apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nregistry: {mode: external, address: registry.example:5000}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{Kubeconfig: c.Kubeconfig, Probe: true, Site: path, Image: "registry.example:5000/probe:1", Timeout: 5 * time.Second}
}

// nothingLeft wants neither the set nor the namespace that was made for it.
func nothingLeft(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got := c.Kubectl(t, "get", "daemonsets,namespaces", "-A", "-o", "name")
		if !strings.Contains(got, "caisson-") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left in the cluster: %s", got)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestAProbeThatNobodyAnswers: the nodes have no kubelet, so no pod says a word.
// Each node is found out, all else is as without a probe, and nothing stays.
func TestAProbeThatNobodyAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	c := clustertest.Start(t)
	var events event.Recorder
	opt := probeOptions(t, c)
	opt.Timeout = 8 * time.Second
	res, err := Run(context.Background(), opt, &events)
	if err != nil {
		t.Fatal(err)
	}
	silent := map[string]bool{}
	var waited []event.Wait
	for _, e := range events.Events() {
		if e.Wait != nil {
			waited = append(waited, *e.Wait)
		}
		if e.Finding != nil && e.Finding.Code == event.CodeProbeSilent {
			silent[e.Finding.Item] = e.Finding.Hint != "" && strings.Contains(e.Finding.What, "the probe says nothing: ")
		}
	}
	if len(res.Nodes) == 0 || len(silent) != len(res.Nodes) {
		t.Errorf("%d nodes, and these said nothing: %v", len(res.Nodes), silent)
	}
	for name, whole := range silent {
		if !whole {
			t.Errorf("node %s: the finding lacks something", name)
		}
	}
	if n := len(waited); n < 2 || !strings.Contains(waited[0].Why, "0 of 2 nodes have answered; node gpu-1: ") || waited[n-1].Why != "" {
		t.Errorf("of the wait it told %+v", waited)
	}
	nothingLeft(t, c)
}

func TestAProbeThatIsInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	c := clustertest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	opt := probeOptions(t, c)
	opt.Timeout = time.Minute
	go func() {
		_, err := Run(ctx, opt, event.Discard)
		done <- err
	}()
	for !strings.Contains(c.Kubectl(t, "get", "daemonsets", "-A", "-o", "name"), "caisson-probe-") {
		select {
		case err := <-done:
			t.Fatalf("ended before it was interrupted: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	nothingLeft(t, c)
}

func TestAnAnswerIsMergedOrTold(t *testing.T) {
	c, err := gpu.Read()
	if err != nil {
		t.Fatal(err)
	}
	p := &prober{image: "registry.example/caisson@sha256:0"}
	line, err := gpu.ProbeLine(inventory.Node{Kernel: "6.8.0-60-generic", GPUs: []inventory.GPU{{Vendor: gpu.NVIDIA, Device: "2330", Class: "0302", Count: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	nodes := []inventory.Node{{Name: "a", Sources: []string{inventory.FromStatus}}, {Name: "b"}}
	if found := p.mergeAnswer(c, nodes, kube.Answer{Node: "a", Log: line}); len(found) != 0 || len(nodes[0].GPUs) != 1 || nodes[0].Kernel == "" {
		t.Errorf("found %+v, node %+v", found, nodes[0])
	}
	if found := p.mergeAnswer(c, nodes, kube.Answer{Node: "new", Log: line}); found != nil {
		t.Errorf("a node that was not listed: %+v", found)
	}
	for want, a := range map[string]kube.Answer{
		"--image":    {Node: "b", Trouble: "ImagePullBackOff: no", NoImage: true},
		"--local":    {Node: "b", Trouble: "no pod was made for the node"},
		"below zero": {Node: "b", Log: []byte(`{"caissonProbe":1,"node":{"switches":-1}}` + "\n")},
		"not 1":      {Node: "b", Log: []byte(`{"caissonProbe":7,"node":{}}` + "\n")},
	} {
		found := p.mergeAnswer(c, nodes, a)
		if len(found) != 1 || found[0].Code != event.CodeProbeSilent || !strings.Contains(found[0].What+found[0].Hint, want) {
			t.Errorf("%s: %+v", want, found)
		}
	}
	if len(nodes[1].GPUs) != 0 {
		t.Error("what is no answer was taken for one")
	}
}
