package nodes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

const nfd = "feature.node.kubernetes.io/"

// fact is a node of a cluster with its labels and what it offers.
func fact(name, kernel, id, version string, labels map[string]string, offers map[string]int64) kube.NodeFacts {
	all := map[string]string{nfd + "system-os_release.ID": id, nfd + "system-os_release.VERSION_ID": version, nfd + "kernel-version.full": kernel}
	for k, v := range labels {
		all[k] = v
	}
	return kube.NodeFacts{Name: name, Labels: all, Capacity: offers, Allocatable: offers,
		Info: corev1.NodeSystemInfo{KernelVersion: kernel, Architecture: "amd64", ContainerRuntimeVersion: "containerd://2.1.4"}}
}

// bus is what node feature discovery writes of a device on the bus.
func bus(id string) map[string]string {
	return map[string]string{nfd + "pci-" + id + ".present": "true"}
}

// TestNineNodesOfACluster goes from labels to payloads: for two nodes nothing exists.
func TestNineNodesOfACluster(t *testing.T) {
	c, err := gpu.Read()
	if err != nil {
		t.Fatal(err)
	}
	stale := fact("stale", "6.8.0-61-generic", "ubuntu", "24.04", bus("0302_10de_2330"), nil)
	stale.Labels[nfd+"kernel-version.full"] = "6.8.0-60-generic"
	list, found := fromFacts(c, []kube.NodeFacts{
		fact("v100", "5.15.0-105-generic", "ubuntu", "22.04", bus("0302_10de_1db6"), nil),
		fact("b200", "6.8.0-60-generic", "ubuntu", "24.04", bus("0302_10de_2901"), nil),
		fact("a100", "5.14.0-427.el9.x86_64", "rhel", "9.4", bus("0302_10de_20b2"), nil),
		fact("ready", "5.14.0-427.el9.x86_64", "sles", "15.6", map[string]string{"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.count": "4", "nvidia.com/gpu.compute.major": "8",
			"nvidia.com/gpu.compute.minor": "9", "nvidia.com/cuda.driver-version.full": "580.95.05"}, map[string]int64{"nvidia.com/gpu": 4}),
		fact("mi300x", "6.8.0-60-generic", "ubuntu", "24.04", map[string]string{nfd + "amd-gpu": "true", "amd.com/gpu.device-id": "74a1"}, map[string]int64{"amd.com/gpu": 8}),
		fact("plain", "6.8.0-60-generic", "ubuntu", "24.04", nil, nil),
		stale,
		fact("debian", "6.1.0-18-amd64", "debian", "12", bus("0302_10de_2331"), nil),
		fact("unclear", "6.8.0-60-generic", "ubuntu", "24.04", bus("10de"), nil),
	})
	if len(found) != 1 || found[0].Item != "stale" || found[0].Code != event.CodeSourcesDisagree {
		t.Errorf("findings %+v", found)
	}
	res := matchNodes(c, list, Options{Now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)})
	want := []string{inventory.Precompiled, inventory.Precompiled, inventory.Conventional, inventory.Installed, inventory.InTreeDriver, inventory.NoGPU, inventory.Precompiled, inventory.NoPayload, inventory.NoPayload}
	for i, p := range res.Payloads {
		if p.Kind != want[i] {
			t.Errorf("%s: %+v", res.Nodes[i].Name, p)
		}
	}
	if res.Lacking != 2 || len(res.Groups) != 4 || !strings.Contains(string(res.Payloads[6].Image), "6.8.0-61") {
		t.Errorf("%d lack a driver, groups %+v, stale %+v", res.Lacking, res.Groups, res.Payloads[6])
	}
}

func TestRunOnATree(t *testing.T) {
	dir := t.TempDir()
	var rec event.Recorder
	if _, err := Run(t.Context(), Options{Sysfs: dir}, &rec); !errors.Is(err, ErrNoTree) {
		t.Fatalf("%v", err)
	}
	at := filepath.Join(dir, "sys/bus/pci/devices/0000:01:00.0")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"vendor": "0x10de", "device": "0x3fff", "class": "0x030200"} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "nodes.yaml")
	res, err := Run(t.Context(), Options{Sysfs: dir, Output: out, HashNames: true}, &rec)
	if err != nil || res.Lacking != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	again, err := Run(t.Context(), Options{Inventory: out}, &rec)
	if err != nil || again.Payloads[0].Because != res.Payloads[0].Because || again.Nodes[0].Name == res.Nodes[0].Name {
		t.Errorf("%+v, %v", again, err)
	}
	lacking := 0
	for _, e := range rec.Events() {
		if e.Finding != nil && e.Finding.Code == event.CodeNoDriverPayload && strings.Contains(e.Finding.Why, "10de:3fff") {
			lacking++
		}
	}
	if lacking != 2 {
		t.Errorf("%d findings name the device", lacking)
	}
}
