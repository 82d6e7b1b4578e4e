package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// TestMission runs TestMissionInside with the charts of real controllers, out of their
// modules.
func TestMission(t *testing.T) {
	if os.Getenv(envControllers) == "" {
		t.Skip("run make e2e-mission")
	}
	runInside(t, "TestMissionInside", 20*time.Minute, func(state string) {
		packCharts(t, filepath.Join(state, "charts"))
	})
}

// TestMissionInside brings the profiles minimal and training of the stack that comes with
// caisson onto two nodes that reach nothing: real controllers by their own charts, our
// charts over them, a model of the bundle that answers, and a TrainJob through a queue.
func TestMissionInside(t *testing.T) {
	state := os.Getenv(envState)
	if state == "" {
		t.Skip("runs inside TestMission")
	}
	step := startPhases(t)
	r, model := startRoad(t, state, "mission", step)
	before, files := r.bring(t, step, "--profile", "minimal,training")

	r.checkPrediction(t, model)
	r.checkQueue(t)
	r.caisson(t, "status", "--state-dir", "state")
	step("a model answers and a job was trained")
	r.checkUninstall(t, before)
	check(t, same(files, r.mirrors(t)))
	step("uninstalled")
	r.checkNames(t)
	r.checkCounting(t)
}

// checkPrediction asks the model as OpenAI's clients do, from both nodes. The stand-in for
// vLLM says the digest of the weights that it was given.
func (r *road) checkPrediction(t *testing.T, model *upstreamtest.Upstream) {
	t.Helper()
	service := r.kubectl(t, "get", "inferenceservice", "-n", "model-serving", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{end}`)
	name, ready, _ := strings.Cut(service, " ")
	if ready != "True" {
		t.Fatalf("the InferenceServices are %q", service)
	}
	address := r.kubectl(t, "get", "service", name+"-predictor", "-n", "model-serving", "-o", "jsonpath={.spec.clusterIP}")
	want := digestAt(t, "http://"+model.Addresses().Hub+"/"+upstreamtest.ModelID+"/resolve/"+model.ModelCommit()+"/model-00001-of-00002.safetensors")
	for _, node := range nodes {
		got := r.run(t, "nsenter", r.onNode(node, filepath.Join(r.state, "app"), "complete", "http://"+address, name)...)
		if got != want {
			t.Errorf("%s is told %q, the weights are %s", node, got, want)
		}
	}
}

// checkQueue checks that the TrainJob went through the queue that gpu-queues made, ran as
// two processes and came to the right end.
func (r *road) checkQueue(t *testing.T) {
	t.Helper()
	got := r.kubectl(t, "get", "workloads", "-n", "trial", "-o",
		`jsonpath={range .items[*]}{.spec.queueName} {.status.admission.clusterQueue} {.status.conditions[?(@.type=="Admitted")].status} {.status.conditions[?(@.type=="Finished")].reason}{end}`)
	if got != "team lab True Succeeded" {
		t.Errorf("Kueue's workload of the TrainJob: %q", got)
	}
	if pods := r.kubectl(t, "get", "pods", "-n", "trial", "-o", `jsonpath={.items[*].status.phase}`); pods != "Succeeded Succeeded" {
		t.Errorf("the TrainJob's pods are %q", pods)
	}
	logs := r.kubectl(t, "logs", "-n", "trial", "-l", "jobset.sigs.k8s.io/replicatedjob-name=node", "--prefix=false")
	if !strings.Contains(logs, "2 processes make 3") {
		t.Errorf("the TrainJob says %q", logs)
	}
}
