package resolve

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
)

// driverSite is a site whose stack installs NVIDIA's operator for two platforms,
// and whose shelf is nvcr.io too.
func driverSite(t *testing.T) (*site, *shelf) {
	s, h := shelfSite(t)
	path := filepath.Join(s.dir, "upstreams.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^.*from: reg\.example.*$`).FindString(string(text))
	s.write("upstreams.yaml", string(text)+strings.Replace(line, "reg.example", "nvcr.io", 1)+"\n")
	h.index("base", h.image("linux/amd64"), h.image("linux/arm64"))
	h.chart("v26.7.0", packChart(t, "gpu-operator", "v26.7.0", map[string]string{"templates/a.yaml": "kind: Pod\nspec:\n  containers:\n  - image: reg.example/a/operator:base\n"}))
	s.write("stack.yaml", strings.Replace(chartStack(`{name: gpu-operator, source: "oci://reg.example/charts/gpu-operator", version: v26.7.0}`), "platforms: [linux/amd64]", "platforms: [linux/amd64, linux/arm64]", 1))
	return s, h
}

// node is one of an inventory with a GPU, or without.
func node(name, arch, system, version, kernel, device string) string {
	gpus := ""
	if device != "" {
		gpus = fmt.Sprintf(", driver: {state: none}, gpus: [{vendor: \"10de\", device: %q, class: \"0302\", count: 1}]", device)
	}
	if arch != "" {
		arch = ", arch: " + arch
	}
	return fmt.Sprintf("- {name: %s%s, kernel: %q, os: {id: %s, version: %q}%s}", name, arch, kernel, system, version, gpus)
}

const (
	h100       = "2330"
	jammy      = "5.15.0-105-generic"
	jammyReady = "595-5.15.0-105-generic-ubuntu22.04"
	jammyBuilt = "595.91.07-ubuntu22.04"
)

func (s *site) forNodes(nodes ...string) Options {
	s.Helper()
	s.write("nodes.yaml", "apiVersion: caisson.dev/v1alpha1\nkind: NodeInventory\nnodes:\n"+strings.Join(nodes, "\n")+"\n")
	opt := s.options("l.yaml")
	opt.Nodes, opt.Now = filepath.Join(s.dir, "nodes.yaml"), time.Unix(1767225600, 0)
	s.events = event.Recorder{}
	return opt
}

// judged are the findings of a code, as SEVERITY WHAT.
func judged(s *site, code string) (out []string) {
	for _, e := range s.events.Events() {
		if e.Finding != nil && e.Finding.Code == code {
			out = append(out, fmt.Sprint(e.Finding.Severity, " ", e.Finding.What))
		}
	}
	return out
}

func TestDriversOfASiteAreCarried(t *testing.T) {
	s, h := driverSite(t)
	h.index(jammyReady, h.image("linux/amd64"), h.image("linux/arm64"))
	r, first := s.mustResolve(s.forNodes(node("a", "amd64", "ubuntu", "22.04", jammy, h100), node("b", "amd64", "ubuntu", "22.04", jammy, h100), node("plain", "amd64", "ubuntu", "22.04", jammy, "")))
	if got, want := imagesOf(r.Lock), "nvcr.io/nvidia/driver:"+jammyReady+" by nodes; reg.example/a/operator:base by chart gpu-operator"; got != want {
		t.Errorf("images are %s\nwant %s", got, want)
	}
	want := []lock.Driver{{Name: "r595-open-ubuntu22.04-" + jammy, Nodes: 2, Image: "nvcr.io/nvidia/driver:" + jammyReady, Version: "595", Modules: "open", OS: "ubuntu22.04", Kernels: []string{jammy}}}
	if fmt.Sprint(r.Lock.Drivers) != fmt.Sprint(want) {
		t.Errorf("drivers are %+v\nwant %+v", r.Lock.Drivers, want)
	}
	if !slices.Equal(r.Lock.Platforms, []string{"linux/amd64"}) {
		t.Errorf("platforms are %v: the site has no arm64", r.Lock.Platforms)
	}
	if !slices.Contains(r.Lock.Components[0].Items, want[0].Image) {
		t.Errorf("the operator's component has %v", r.Lock.Components[0].Items)
	}
	_, second := s.mustResolve(s.forNodes(node("b", "amd64", "ubuntu", "22.04", jammy, h100), node("plain", "amd64", "ubuntu", "22.04", jammy, ""), node("a", "amd64", "ubuntu", "22.04", jammy, h100)))
	if string(first) != string(second) {
		t.Errorf("the order of nodes changes the lock:\n%s\n%s", first, second)
	}
}

// TestADriverIsCarriedForItsNodes: an image for one platform is enough where the
// nodes of the other have no GPU.
func TestADriverIsCarriedForItsNodes(t *testing.T) {
	s, h := driverSite(t)
	h.tag(jammyReady, h.image("linux/amd64"))
	r, _ := s.mustResolve(s.forNodes(node("a", "amd64", "ubuntu", "22.04", jammy, h100), node("arm", "arm64", "ubuntu", "22.04", jammy, "")))
	if len(r.Lock.Platforms) != 2 || len(r.Lock.Drivers) != 1 {
		t.Errorf("platforms %v, drivers %+v", r.Lock.Platforms, r.Lock.Drivers)
	}
	if warned(s, "it is for linux/amd64 alone") {
		t.Error("a driver was wanted for nodes without GPUs")
	}
}

func TestAnImageForTheKernelMayNotExist(t *testing.T) {
	s, h := driverSite(t)
	h.index(jammyBuilt, h.image("linux/amd64"))
	r, _ := s.mustResolve(s.forNodes(node("a", "amd64", "ubuntu", "22.04", jammy, h100), node("b", "amd64", "ubuntu", "22.04", "5.15.0-106-generic", h100)))
	if got := imagesOf(r.Lock); !strings.HasPrefix(got, "nvcr.io/nvidia/driver:"+jammyBuilt+" by nodes; ") {
		t.Errorf("images are %s", got)
	}
	if len(r.Lock.Drivers) != 1 || r.Lock.Drivers[0].Nodes != 2 || !slices.Contains(r.Lock.Drivers[0].Packages, "linux-headers-"+jammy) || !slices.Contains(r.Lock.Drivers[0].Packages, "linux-headers-5.15.0-106-generic") {
		t.Errorf("drivers are %+v", r.Lock.Drivers)
	}
	if got := judged(s, event.CodeDriverImageMissing); len(got) != 2 || !strings.Contains(got[0], "node a: no driver image is ready for kernel "+jammy) {
		t.Errorf("said of the tag: %q", got)
	}
	if got := judged(s, event.CodeDriverPackages); len(got) != 1 || !strings.Contains(got[0], "linux-headers-"+jammy) {
		t.Errorf("said of the packages: %q", got)
	}
}

func TestNoImageExistsAtAll(t *testing.T) {
	s, _ := driverSite(t)
	_, err := s.resolve(s.forNodes(node("a", "amd64", "ubuntu", "22.04", jammy, h100), node("b", "amd64", "rhel", "9.4", "5.14.0-427.el9.x86_64", h100)))
	if got := judged(s, "no-driver-payload"); !errors.Is(err, ErrNoDriver) || len(got) != 2 || !strings.HasPrefix(got[0], "error node a:") {
		t.Errorf("%v, said %q", err, got)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "l.yaml")); err == nil {
		t.Error("a lock was written")
	}
}

// TestTroubleIsNotAbsence: a registry that fails says nothing about what exists.
func TestTroubleIsNotAbsence(t *testing.T) {
	s, h := driverSite(t)
	h.index(jammyBuilt, h.image("linux/amd64"))
	h.status["/v2/nvidia/driver/manifests/"+jammyReady] = http.StatusForbidden
	_, err := s.resolve(s.forNodes(node("a", "amd64", "ubuntu", "22.04", jammy, h100)))
	if err == nil || errors.Is(err, ErrNoDriver) || !strings.Contains(err.Error(), "stack.yaml:9: component c: driver image nvcr.io/nvidia/driver:"+jammyReady+" of a: ") {
		t.Errorf("error is %v", err)
	}
}

func TestPlatformsOfASite(t *testing.T) {
	s, _ := driverSite(t)
	r, _ := s.mustResolve(s.forNodes(node("arm", "arm64", "ubuntu", "22.04", jammy, "")))
	if !slices.Equal(r.Lock.Platforms, []string{"linux/arm64"}) {
		t.Errorf("platforms are %v", r.Lock.Platforms)
	}
	r, _ = s.mustResolve(s.forNodes(node("any", "", "ubuntu", "22.04", jammy, "")))
	if len(r.Lock.Platforms) != 2 {
		t.Errorf("an inventory that names no architecture left %v", r.Lock.Platforms)
	}
	_, err := s.resolve(s.forNodes(node("p", "ppc64le", "ubuntu", "22.04", jammy, ""), node("q", "s390x", "ubuntu", "22.04", jammy, "")))
	if got := judged(s, event.CodeNodePlatform); !errors.Is(err, ErrNodePlatform) || len(got) != 2 || !strings.Contains(got[1], "error node q is linux/s390x; the stack is for linux/amd64, linux/arm64") {
		t.Errorf("%v, said %q", err, got)
	}
	opt := s.forNodes(node("a", "amd64", "ubuntu", "22.04", jammy, h100), node("arm", "arm64", "ubuntu", "22.04", jammy, ""))
	opt.Platforms = []string{"linux/arm64"}
	r, _ = s.mustResolve(opt)
	if got := judged(s, event.CodeNodePlatform); len(got) != 1 || !strings.HasPrefix(got[0], "warn node a is linux/amd64; --platform") || len(r.Lock.Drivers) != 0 {
		t.Errorf("said %q, drivers %v", got, r.Lock.Drivers)
	}
}

func TestAStackWithoutTheOperator(t *testing.T) {
	s, _ := driverSite(t)
	s.write("stack.yaml", imageStack("linux/amd64", "reg.example/a/b:base"))
	var list []string
	for i := range 7 {
		list = append(list, node(fmt.Sprint("n", i), "amd64", "ubuntu", "22.04", jammy, h100))
	}
	r, _ := s.mustResolve(s.forNodes(list...))
	if got := judged(s, event.CodeNoGPUOperator); len(got) != 1 || !strings.HasSuffix(got[0], "for n0, n1, n2, n3, n4 and 2 more") || r.Lock.Drivers != nil {
		t.Errorf("said %q, drivers %v", got, r.Lock.Drivers)
	}
}
