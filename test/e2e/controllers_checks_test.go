package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/inventory"
	nodefiles "github.com/caisson/caisson/internal/client/host"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// writeStackOf makes a road's directory with the stack of a folder.
func writeStackOf(t *testing.T, folder, dir, upstream string, model *upstreamtest.Upstream) {
	t.Helper()
	check(t, os.Mkdir(dir, 0o700))
	files, err := filepath.Glob(folder + "/*.yaml")
	check(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		text = []byte(strings.ReplaceAll(string(text), "COMMIT", model.ModelCommit()))
		check(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600))
	}
	writeUpstreams(t, dir, upstream, model.Addresses().Hub)
}

// routeServices lets the API server reach Services: a node sends on what goes to
// their addresses.
func (l *lab) routeServices(t *testing.T) {
	t.Helper()
	l.shell(t, "ip route add 10.96.0.0/16 via "+nodeAddress(0))
}

// findService finds the address of SERVICE.NAMESPACE, or of the pod
// HOSTNAME.SERVICE.NAMESPACE.
func (l *lab) findService(name string) net.IP {
	parts := strings.Split(name, ".")
	switch len(parts) {
	case 2:
		return l.addressOf("service", parts[0], "-n", parts[1], "-o", "jsonpath={.spec.clusterIP}")
	case 3:
		return l.addressOf("endpointslices", "-n", parts[2], "-l", "kubernetes.io/service-name="+parts[1],
			"-o", fmt.Sprintf(`jsonpath={.items[*].endpoints[?(@.hostname=="%s")].addresses[0]}`, parts[0]))
	}
	return nil
}

func (l *lab) addressOf(get ...string) net.IP {
	out, _ := l.command(context.Background(), l.kube, append([]string{"kubectl", "get"}, get...)...).Output()
	return net.ParseIP(strings.TrimSpace(string(out))) // nil if there is none
}

// mustCaisson runs what takes longer than most.
func (r *road) mustCaisson(t *testing.T, limit time.Duration, args ...string) string {
	t.Helper()
	out, err := r.tryCaissonFor(t, limit, args...)
	if err != nil {
		t.Fatalf("caisson %s: %v\n%s\n%s", strings.Join(args, " "), err, out, r.situation(t))
	}
	return out
}

// checkCertificate checks what cert-manager issued, and that its webhook refuses.
func (r *road) checkCertificate(t *testing.T) {
	t.Helper()
	var secret struct{ Data map[string][]byte }
	check(t, json.Unmarshal([]byte(r.kubectl(t, "get", "secret", "web", "-n", "certificates", "-o", "json")), &secret))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data["ca.crt"])
	block, _ := pem.Decode(secret.Data["tls.crt"])
	if block == nil {
		t.Fatal("the secret of the certificate is empty")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "web.lab.example"})
	check(t, err)
	_, err = r.try(t.Context(), r.kube, "kubectl", "patch", "certificate", "web", "-n", "certificates", "--type=merge", "--dry-run=server",
		"-p", `{"spec": {"duration": "1m"}}`)
	if err == nil || !strings.Contains(err.Error(), "webhook.cert-manager.io") {
		t.Errorf("cert-manager's webhook does not refuse a certificate of one minute: %v", err)
	}
}

// checkTraining checks that the TrainJob went through the queue, ran on both
// nodes and came to the right end.
func (r *road) checkTraining(t *testing.T) {
	t.Helper()
	got := r.kubectl(t, "get", "workloads", "-n", "training", "-o",
		`jsonpath={range .items[*]}{.spec.queueName} {.status.admission.clusterQueue} {.status.conditions[?(@.type=="Admitted")].status} {.status.conditions[?(@.type=="Finished")].reason}{end}`)
	if got != "team lab True Succeeded" {
		t.Errorf("Kueue's workload of the TrainJob: %q", got)
	}
	pods := strings.Fields(r.kubectl(t, "get", "pods", "-n", "training", "-o", `jsonpath={range .items[*]}{.spec.nodeName}/{.status.phase} {end}`))
	slices.Sort(pods)
	if want := []string{"n1/Succeeded", "n2/Succeeded"}; !slices.Equal(pods, want) {
		t.Errorf("the TrainJob's pods are %v", pods)
	}
	logs := r.kubectl(t, "logs", "-n", "training", "-l", "jobset.sigs.k8s.io/replicatedjob-name=node", "--prefix=false")
	if !strings.Contains(logs, "2 processes make 3") || !strings.Contains(logs, "sent 2 to sum-node-0-0.sum") {
		t.Errorf("the TrainJob says %q", logs)
	}
}

// checkModel asks the InferenceService from both nodes for digests of its
// model's files, and compares them with those upstream.
func (r *road) checkModel(t *testing.T, model *upstreamtest.Upstream) {
	t.Helper()
	address := r.kubectl(t, "get", "service", "tiny-predictor", "-n", "models", "-o", "jsonpath={.spec.clusterIP}")
	for _, file := range []string{"config.json", "model-00001-of-00002.safetensors"} {
		want := digestAt(t, fmt.Sprintf("http://%s/%s/resolve/%s/%s", model.Addresses().Hub, upstreamtest.ModelID, model.ModelCommit(), file))
		for _, name := range nodes {
			if got := r.run(t, "nsenter", r.onNode(name, filepath.Join(r.state, "app"), "get", "http://"+address+"/"+file)...); got != want {
				t.Errorf("the model answers %s that %s is %q, upstream it is %s", name, file, got, want)
			}
		}
	}
}

func digestAt(t *testing.T, url string) string {
	t.Helper()
	reply, err := http.Get(url)
	check(t, err)
	defer reply.Body.Close()
	h := sha256.New()
	_, err = io.Copy(h, reply.Body)
	check(t, err)
	if reply.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, reply.Status)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// checkLabels checks that caisson nodes reads what NFD wrote of the nodes.
func (r *road) checkLabels(t *testing.T) {
	t.Helper()
	r.caisson(t, "nodes", "export", "-o", "labelled.yaml")
	v, err := inventory.Read(filepath.Join(r.dir, "labelled.yaml"))
	check(t, err)
	c, err := gpu.Read()
	check(t, err)
	root, err := os.OpenRoot("/")
	check(t, err)
	defer root.Close()
	want := nodefiles.ReadTree(c, root, "")
	for _, n := range v.Nodes {
		if !slices.Contains(n.Sources, inventory.FromLabels) || n.Kernel != want.Kernel || n.OS.ID != want.OS.ID || n.OS.Version != want.OS.Version {
			t.Errorf("with NFD's labels, nodes are\n%+v\non a host that is\n%+v", n, want)
		}
	}
	labels := r.kubectl(t, "get", "nodes", "-o", `jsonpath={.items[*].metadata.labels.feature\.node\.kubernetes\.io/kernel-version\.full}`)
	if labels != want.Kernel+" "+want.Kernel {
		t.Errorf("NFD's labels of the kernel: %q", labels)
	}
}

// checkVisibility asks Kueue's own API, which the API server aggregates.
func (r *road) checkVisibility(t *testing.T) {
	t.Helper()
	out := r.kubectl(t, "get", "--raw", "/apis/visibility.kueue.x-k8s.io/v1beta2/clusterqueues/lab/pendingworkloads")
	if !strings.Contains(out, `"items":[]`) {
		t.Errorf("pending workloads: %s", out)
	}
}

// checkSettled checks that status finds no drift, and that installing the same
// plan again changes nothing.
func (r *road) checkSettled(t *testing.T) {
	t.Helper()
	r.caisson(t, "status", "--state-dir", "state")
	before := r.generations(t)
	r.mustCaisson(t, installLimit, "install", "plan.json", "--state-dir", "state")
	check(t, same(before, r.generations(t)))
	r.caisson(t, "status", "--state-dir", "state")
	r.checkTraining(t)
}

// staying finds what uninstall says of a namespace that it leaves.
var staying = regexp.MustCompile(`(?m)^\s*warning: namespace (\S+) stays: it holds`)

// checkUninstall checks that uninstall leaves nothing but the namespaces in which
// a controller keeps something of its own, and names these.
func (r *road) checkUninstall(t *testing.T, before []string, more ...string) {
	t.Helper()
	out := r.mustCaisson(t, installLimit, append([]string{"uninstall", "--purge", "--state-dir", "state"}, more...)...)
	// Of users, and of teams, whose namespaces the chart of their queues leaves.
	r.kubectl(t, "delete", "namespace", "science", "trial", "--ignore-not-found", "--timeout=60s")
	for _, found := range staying.FindAllStringSubmatch(out, -1) {
		t.Logf("namespace %s stays", found[1])
		r.kubectl(t, "delete", "namespace", found[1], "--timeout=60s")
	}
	r.waitFor(t, time.Minute, "the cluster to be as before", func() error { return same(before, r.inventory(t)) })
	if labels := r.kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.labels}"); strings.Contains(labels, "feature.node.kubernetes.io") {
		t.Errorf("NFD's labels are left: %s", labels)
	}
}

// unsettled are objects whose generation is not looked at: caisson's own, and what NFD
// measures anew.
var unsettled = regexp.MustCompile(`/caisson-system/|^NodeFeature/`)

// generations names every object that anybody installed, with its identity and
// what counts its changes: of ConfigMaps and Secrets the content does.
func (r *road) generations(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, object := range r.objects(t, ` {.metadata.uid} {.metadata.generation}`) {
		if !unsettled.MatchString(object) {
			all = append(all, object)
		}
	}
	content := r.kubectl(t, "get", "configmaps,secrets", "-A", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name} {.data}{"\n"}{end}`)
	for line := range strings.Lines(content) {
		if !strings.Contains(line, "/caisson-system/") {
			all = append(all, fmt.Sprintf("%.80s %x", line, sha256.Sum256([]byte(line))))
		}
	}
	return all
}
