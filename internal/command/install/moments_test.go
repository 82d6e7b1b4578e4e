package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/event"
)

// gate stands between a process and the API server, counts its requests and
// acts at one of them.
type gate struct {
	Kubeconfig string

	mu       sync.Mutex
	requests int64
	at       int64                    // the request that act is called for; 0 for none
	when     func(*http.Request) bool // the same by what is asked; may be nil, is asked for each request once
	answered bool                     // act after the server has carried it out, else before it saw it
	act      func()                   // the request is never answered
}

func (l *lab) config() *rest.Config {
	l.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", l.cluster.Kubeconfig)
	if err != nil {
		l.t.Fatal(err)
	}
	config.QPS, config.Burst = 500, 1000
	return config
}

func (l *lab) gate() *gate {
	l.t.Helper()
	config := l.config()
	transport, err := rest.TransportFor(config)
	if err != nil {
		l.t.Fatal(err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		l.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(server)
	proxy.Transport, proxy.FlushInterval = transport, -1
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	g := &gate{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.pass(proxy, w, r) }))
	l.t.Cleanup(s.CloseClientConnections)
	g.Kubeconfig = filepath.Join(l.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n", s.URL)
	if err := os.WriteFile(g.Kubeconfig, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return g
}

// sent is how many requests there were.
func (g *gate) sent() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

func (g *gate) pass(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests++
	now, answered, act := g.requests == g.at || g.when != nil && g.when(r), g.answered, g.act
	g.mu.Unlock()
	if !now {
		proxy.ServeHTTP(w, r)
		return
	}
	if answered && r.URL.Query().Get("watch") == "" {
		proxy.ServeHTTP(httptest.NewRecorder(), r)
	}
	act()
	panic(http.ErrAbortHandler)
}

// installThrough installs in another process whose requests go through g. ended
// is how the process ended.
func (l *lab) installThrough(g *gate, plan string) (ended *os.ProcessState, stderr string) {
	l.t.Helper()
	opt := l.options(plan)
	opt.Kubeconfig = g.Kubeconfig
	options, err := json.Marshal(opt)
	if err != nil {
		l.t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), envChild+"="+string(options))
	var said bytes.Buffer
	command.Stderr = &said
	g.mu.Lock()
	err = command.Start()
	g.act = func() { _ = command.Process.Kill() }
	g.mu.Unlock()
	if err != nil {
		l.t.Fatal(err)
	}
	_ = command.Wait()
	return command.ProcessState, said.String()
}

// fleeting are kinds that come and go by themselves.
var fleeting = map[string]bool{"Event": true, "EndpointSlice": true, "Endpoints": true, "PodMetrics": true, "NodeMetrics": true, "Lease": true, "Node": true, "ComponentStatus": true, "CSINode": true, "APIService": true}

// objects lists everything that every API of the server has in namespaces that
// begin with prefix, and everything without a namespace, each object with what
// it says, without what the server adds. What belongs to another object, like a
// pod of a Deployment, follows that one and is left out. prefix and the stack's
// name are made equal, so that stacks can be compared.
func (l *lab) objects(prefix string) []string {
	l.t.Helper()
	config := l.config()
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		l.t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		l.t.Fatal(err)
	}
	lists, err := d.ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		l.t.Fatal(err)
	}
	var out []string
	for _, list := range lists {
		gv, _ := schema.ParseGroupVersion(list.GroupVersion)
		for _, r := range list.APIResources {
			if fleeting[r.Kind] || !slices.Contains(r.Verbs, "list") {
				continue
			}
			found, err := client.Resource(gv.WithResource(r.Name)).List(l.t.Context(), metav1.ListOptions{})
			if err != nil {
				continue // a definition that just went away
			}
			for i := range found.Items {
				if line := l.line(&found.Items[i], r.Namespaced, prefix); line != "" {
					out = append(out, line)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func (l *lab) line(u *unstructured.Unstructured, namespaced bool, prefix string) string {
	switch {
	case namespaced && !strings.HasPrefix(u.GetNamespace(), prefix+"-"),
		!namespaced && !strings.Contains(u.GetName(), prefix),
		len(u.GetOwnerReferences()) > 0,
		u.GetKind() == "ConfigMap" && u.GetName() == "kube-root-ca.crt",
		u.GetKind() == "ServiceAccount" && u.GetName() == "default":
		return ""
	}
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", "deployment.kubernetes.io/revision")
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "spec", "clusterIP")
	unstructured.RemoveNestedField(u.Object, "spec", "clusterIPs")
	if kind, _, _ := unstructured.NestedString(u.Object, "type"); strings.HasPrefix(kind, "caisson.dev/") {
		// A record: when it was written is in it.
		unstructured.RemoveNestedField(u.Object, "data")
		unstructured.RemoveNestedField(u.Object, "metadata", "annotations")
		unstructured.RemoveNestedField(u.Object, "metadata", "labels", "caisson.dev/chart") // a digest of, among others, prefix
	}
	text, err := json.Marshal(u.Object)
	if err != nil {
		l.t.Fatal(err)
	}
	line := fmt.Sprintf("%s %s/%s %s", u.GetKind(), u.GetNamespace(), u.GetName(), text)
	return strings.ReplaceAll(strings.ReplaceAll(line, l.name, "STACK"), prefix, "PREFIX")
}

// truthful checks that the journal says what is there, and that its copy on disk
// says the same.
func (l *lab) truthful() {
	l.t.Helper()
	j := l.journal()
	for _, run := range j.Runs[:len(j.Runs)-1] {
		if run.State != journal.Cancelled && run.State != journal.Failed && run.State != journal.Done {
			l.t.Errorf("a run before the last is %s in the journal", run.State)
		}
	}
	if last := j.Last(); last.State != journal.Done || last.Ended.IsZero() {
		l.t.Errorf("the last run is %s in the journal", last.State)
	}
	for _, c := range j.Installed {
		if !c.Complete {
			l.t.Errorf("component %s is not complete in the journal", c.Name)
		}
	}
	copied, err := archive.ReadCopies(l.state)
	if err != nil {
		l.t.Fatal(err)
	}
	ours := slices.IndexFunc(copied, func(c *journal.Journal) bool { return c.Stack == l.name })
	if ours < 0 {
		l.t.Fatalf("there is no copy of the journal of %s", l.name)
	}
	if here, there := must(copied[ours].Marshal()), must(j.Marshal()); !bytes.Equal(here, there) {
		l.t.Errorf("the journal's copy says\n%s\nthe cluster\n%s", here, there)
	}
	if _, err := Status(l.t.Context(), l.target(), event.Discard); err != nil {
		l.t.Errorf("the journal and the cluster differ: %v", err)
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// kills is how many installations are killed, each at another moment.
const kills = 20

// A process that is killed at any request leaves something that the next one
// completes to what an undisturbed installation makes.
func TestKilledAtAnyRequest(t *testing.T) {
	l := newLab(t)
	l.name = "moment-clean"
	g := l.gate()
	if ended, stderr := l.installThrough(g, l.plan(three("momentclean", "1.0.0", 1), "")); !ended.Success() {
		t.Fatalf("the undisturbed installation ended with %s: %s", ended, stderr)
	}
	total := g.sent()
	want := l.objects("momentclean")
	t.Logf("%d requests, %d objects", total, len(want))
	random := rand.New(rand.NewPCG(20, 26))
	for i := range int64(kills) {
		// One in each twentieth of the way; the last few requests of a run can
		// be fewer than the measured one's.
		at := 1 + i*(total-4)/kills + random.Int64N(max((total-4)/kills, 1))
		answered := random.IntN(2) == 0
		t.Run(fmt.Sprintf("request %d", at), func(t *testing.T) { killedAt(t, l, at, answered, want, i%3 == 1) })
	}
}

func killedAt(t *testing.T, shared *lab, at int64, answered bool, want []string, remove bool) {
	l := &lab{t: t, site: shared.site, cluster: shared.cluster, client: shared.client, state: t.TempDir(), name: fmt.Sprintf("moment-%d", at)}
	prefix := fmt.Sprintf("moment%d", at)
	before := l.objects(prefix)
	p := l.plan(three(prefix, "1.0.0", 1), "")
	g := l.gate()
	g.mu.Lock()
	g.at, g.answered = at, answered
	g.mu.Unlock()
	if ended, stderr := l.installThrough(g, p); ended.Exited() {
		t.Fatalf("the installation ended with %s before it was killed: %s", ended, stderr)
	}
	if run := l.lastRun(); run != nil && run.State != journal.Running && run.State != journal.Done {
		t.Errorf("after the kill the journal says %s", run.State)
	}
	l.install(p)
	l.truthful()
	if got := l.objects(prefix); !slices.Equal(got, want) {
		t.Errorf("killed at request %d (answered %v) and run again, there is something else than after an undisturbed installation:\n%s", at, answered, diff(want, got))
	}
	if !remove {
		return
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.objects(prefix); !slices.Equal(got, before) {
		t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
	}
}
