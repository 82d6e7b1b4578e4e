package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/testkit/nodetest"
)

func catalogue(t testing.TB) *gpu.Catalogue {
	t.Helper()
	c, err := gpu.Read()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mellanox makes network adapters.
const mellanox = "15b3"

// capture is a node's tree as it would come from the machine.
type capture struct {
	t    testing.TB
	dir  string
	next int // bus of the next function
}

func newCapture(t testing.TB) *capture { return &capture{t: t, dir: t.TempDir(), next: 1} }

func (c *capture) file(name, text string) *capture {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return c
}

func (c *capture) link(name, to string) *capture {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// host is the part that every node has.
func (c *capture) host(kernel, osRelease string) *capture {
	return c.file("proc/sys/kernel/osrelease", kernel+"\n").file("proc/sys/kernel/arch", "x86_64\n").file("etc/os-release", osRelease).
		file("sys/fs/cgroup/cgroup.controllers", "cpu memory\n").file("run/containerd/containerd.sock", "")
}

// functions adds PCI functions as the kernel lays them out: a directory below
// sys/devices, and links to it and to its driver.
func (c *capture) functions(n int, vendor, device, class, driver string, more ...string) *capture {
	for range n {
		at := fmt.Sprintf("0000:%02x:00.%d", c.next, len(more)%2)
		c.next++
		dir := "sys/devices/pci0000:00/" + at
		c.file(dir+"/vendor", "0x"+vendor+"\n").file(dir+"/device", "0x"+device+"\n").file(dir+"/class", "0x"+class+"\n")
		c.link("sys/bus/pci/devices/"+at, "../../../devices/pci0000:00/"+at)
		if driver != "" {
			c.link(dir+"/driver", "../../../bus/pci/drivers/"+driver)
		}
		for _, m := range more {
			c.link(dir+"/"+m, "../0000:00:00.0")
		}
	}
	return c
}

func (c *capture) read() inventory.Node {
	c.t.Helper()
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	defer root.Close()
	return ReadTree(catalogue(c.t), root, "node")
}

const (
	jammy = "NAME=\"Ubuntu\"\nID=ubuntu\nVERSION_ID=\"22.04\"\nPRETTY_NAME=\"Ubuntu 22.04.5 LTS\"\n"
	noble = "ID=ubuntu\nVERSION_ID=\"24.04\"\n"
	rhel9 = "ID=\"rhel\"\nVERSION_ID=\"9.4\"\n"
)

const openDriver = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)  Tue Sep 23 10:11:16 UTC 2025\nGCC version:  gcc version 12.3.0\n"
const closedDriver = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"

// bmc is the display of a server's management controller.
func (c *capture) bmc() *capture { return c.functions(1, "1a03", "2000", "030000", "ast") }

// trees are captured nodes by name, and what is to be read from each.
func trees(t testing.TB) map[string]*capture {
	return map[string]*capture{
		"DGX H100": newCapture(t).host("5.15.0-105-generic", jammy).bmc().functions(8, gpu.NVIDIA, "2330", "030200", "nvidia").
			functions(4, gpu.NVIDIA, "22a3", "068000", "nvidia-nvswitch").functions(8, mellanox, "1021", "020700", "mlx5_core").
			file("proc/driver/nvidia/version", openDriver).file("sys/class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n").
			file("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00\x00").
			file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "1024\n").file("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n").
			file("sys/kernel/iommu_groups/0/type", "DMA\n").file("sys/kernel/iommu_groups/1/type", "DMA\n"),
		"B200 HGX": newCapture(t).host("6.8.0-60-generic", noble).bmc().functions(8, gpu.NVIDIA, "2901", "030200", "").
			file("sys/class/infiniband/mlx5_0/device/vpd", "....SW_MNG....").file("sys/class/infiniband/mlx5_4/ports/1/link_layer", "InfiniBand\n").
			file("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00\x01"),
		"V100 box":  newCapture(t).host("5.15.0-105-generic", jammy).functions(4, gpu.NVIDIA, "1db5", "030200", "nouveau").file("sys/module/nouveau/refcnt", "1"),
		"A100 MIG":  newCapture(t).host("5.14.0-427.13.1.el9_4.x86_64", rhel9).functions(2, gpu.NVIDIA, "20b0", "030200", "nvidia").functions(2, gpu.NVIDIA, "20b2", "030200", "nvidia").functions(1, gpu.NVIDIA, "20b5", "030200", "vfio-pci").file("proc/driver/nvidia/version", closedDriver),
		"MI300X":    newCapture(t).host("6.8.0-60-generic", noble).bmc().functions(8, gpu.AMD, "74a1", "120000", "amdgpu").functions(16, gpu.AMD, "74b5", "120000", "", "physfn").file("sys/module/amdgpu/version", "6.12.12"),
		"Intel Max": newCapture(t).host("6.8.0-60-generic", noble).functions(1, "102b", "0538", "030000", "mgag200").functions(4, gpu.Intel, "0bd5", "038000", "i915"),
		"RTX workstation": newCapture(t).host("6.8.0-60-generic", noble).functions(2, gpu.NVIDIA, "2bb1", "030000", "nvidia").functions(2, gpu.NVIDIA, "22e8", "040300", "snd_hda_intel").
			functions(1, gpu.NVIDIA, "1ad9", "0c0330", "xhci_hcd").functions(1, gpu.Intel, "a780", "030000", "i915").file("proc/driver/nvidia/version", openDriver).file("sys/module/i915/refcnt", "1"),
		"VM":       newCapture(t).host("6.8.0-1013-azure", noble).functions(1, "1414", "5353", "030000", "hyperv").functions(1, gpu.NVIDIA, "2331", "030200", ""),
		"no GPU":   newCapture(t).host("6.1.0-18-amd64", "ID=debian\nVERSION_ID=\"12\"\n").bmc(),
		"Gaudi 3":  newCapture(t).host("5.15.0-105-generic", jammy).bmc().functions(8, gpu.Habana, "1060", "120000", "habanalabs"),
		"stranger": newCapture(t).host("6.8.0-60-generic", noble).functions(2, gpu.NVIDIA, "3fff", "030200", ""),
	}
}

func TestReadTree(t *testing.T) {
	want := map[string]string{
		"DGX H100":        "8 H100 SXM5 80GB hopper 80 mig nvidia | 4 switches | installed 580.95.05 open | off 2 groups | mlx5_0 InfiniBand | 1024x2048",
		"B200 HGX":        "8 B200 blackwell 180 mig | none | on | mlx5_0 switch | mlx5_4 InfiniBand",
		"V100 box":        "4 Tesla V100 SXM2 32GB volta 32 nouveau | nouveau",
		"A100 MIG":        "2 A100 SXM4 40GB ampere 40 mig nvidia | 2 A100 SXM4 80GB ampere 80 mig nvidia | 1 A100 PCIe 80GB ampere 80 mig vfio-pci | installed 535.104.05 proprietary",
		"MI300X":          "8 Instinct MI300X cdna3 192 amdgpu | 16 Instinct MI300X VF cdna3 0 virtual | in-tree amdgpu",
		"Intel Max":       "4 Data Center GPU Max 1550 xe-hpc 128 i915 | in-tree i915",
		"RTX workstation": "2 RTX PRO 6000 WS blackwell-rtx 96 mig nvidia | 1 8086:a780 i915 | installed 580.95.05 open",
		"VM":              "1 H100 PCIe hopper 80 mig | none",
		"no GPU":          "",
		"Gaudi 3":         "8 Gaudi 3 gaudi3 0 habanalabs | in-tree habanalabs",
		"stranger":        "2 10de:3fff | none",
	}
	for name, c := range trees(t) {
		n := c.read()
		if got := nodetest.Words(n); got != want[name] {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want[name])
		}
		if n.Arch != "amd64" || n.Cgroup != 2 || n.Runtime != "containerd" || n.Kernel == "" || n.OS.ID == "" {
			t.Errorf("%s: host %+v", name, n)
		}
	}
}

// TestReadTreeKnowsEveryVendor: from a tree with one device of it and nothing else,
// and with each of its modules loaded.
func TestReadTreeKnowsEveryVendor(t *testing.T) {
	for _, v := range gpu.Vendors() {
		class := "120000"
		if v.Displays {
			class = "030200"
		}
		for _, d := range catalogue(t).Devices.Devices {
			if d.Vendor != v.ID || d.Virtual {
				continue
			}
			n := newCapture(t).functions(1, v.ID, d.Device, class, "").read()
			if len(n.GPUs) != 1 || n.GPUs[0].Vendor != v.ID || n.GPUs[0].Product != d.Product || n.Driver.State != inventory.DriverNone {
				t.Errorf("%s: %+v, driver %+v", d.Product, n.GPUs, n.Driver)
			}
			for _, m := range v.Modules {
				loaded := newCapture(t).functions(1, v.ID, d.Device, class, "").file("sys/module/"+m.Name+"/refcnt", "1").read()
				if got := loaded.Driver; got.State != m.State || len(got.Names) != 1 || got.Names[0] != m.Name {
					t.Errorf("%s with %s loaded: %+v", d.Product, m.Name, got)
				}
			}
			break // one device stands for all
		}
	}
}

// TestReadTreeStaysInside: a captured tree may be made by an enemy.
func TestReadTreeStaysInside(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("ID=stolen\nVERSION_ID=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := newCapture(t).functions(1, gpu.NVIDIA, "2330", "030200", "")
	c.link("etc/os-release", filepath.Join(outside, "secret")).link("usr/lib/os-release", "../../../../../../../../../.."+filepath.Join(outside, "secret")).
		link("proc", outside).link("sys/bus/pci/devices/loop", "loop").link("sys/bus/pci/devices/away", outside).
		file("sys/bus/pci/devices/odd/vendor", strings.Repeat("0x10de", 100000)).file("sys/bus/pci/devices/odd/class", "0x030200\x1b[31m")
	n := c.read()
	if n.OS != (inventory.OS{}) || n.Kernel != "" || len(n.GPUs) != 1 || n.GPUs[0].Count != 1 {
		t.Errorf("%+v", n)
	}
}

func TestReadTreeWithoutLinks(t *testing.T) {
	c := newCapture(t)
	dir := "sys/bus/pci/devices/0000:01:00.0"
	c.file(dir+"/vendor", "0x10de").file(dir+"/device", "0x2330").file(dir+"/class", "0x030200").file(dir+"/uevent", "DRIVER=vfio-pci\nPCI_CLASS=30200\n")
	if g := c.read().GPUs; len(g) != 1 || g[0].Bound != "vfio-pci" {
		t.Errorf("%+v", g)
	}
}

func TestParseOSRelease(t *testing.T) {
	for text, want := range map[string]inventory.OS{
		"ID=ubuntu\nVERSION_ID=\"24.04\"\n":                           {ID: "ubuntu", Version: "24.04"},
		"# x\nID='rhcos'\nVERSION_ID=4.18\nOSTREE_VERSION='418.94'":   {ID: "rhcos", Version: "4.18", OSTree: "418.94"},
		"ID=$(reboot)\nVERSION_ID=\"1 2\"":                            {},
		"ID=\"":                                                       {},
		strings.Repeat("A", 100) + "\nID=" + strings.Repeat("b", 100): {},
	} {
		if got := ParseOSRelease([]byte(text)); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add([]byte(jammy))
	f.Add([]byte("ID=\"a\nVERSION_ID='"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range []string{ParseOSRelease(text).ID, ParseOSRelease(text).Version, ParseOSRelease(text).OSTree} {
			if s != "" && inventory.TagWord(s) != s {
				t.Errorf("%q came through", s)
			}
		}
	})
}

func TestMatchTrees(t *testing.T) {
	want := map[string]string{"DGX H100": inventory.Installed, "B200 HGX": inventory.Precompiled, "V100 box": inventory.Precompiled, "A100 MIG": inventory.Installed, "MI300X": inventory.InTreeDriver,
		"Intel Max": inventory.InTreeDriver, "Gaudi 3": inventory.InTreeDriver, "RTX workstation": inventory.Installed, "VM": inventory.Precompiled, "no GPU": inventory.NoGPU, "stranger": inventory.NoPayload}
	for name, tree := range trees(t) {
		if p := gpu.Match(catalogue(t), tree.read(), gpu.Options{Month: "2026-11"}); p.Kind != want[name] {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
