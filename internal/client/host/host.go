// Package host reads what a machine's own files say of its system, its accelerators
// and their driver: below / of this host, or of a captured tree.
//
// A tree may be hostile: nothing outside of it is read, files are read up to a
// bound, and what is absent or has no form that is known stays empty. What counts
// as an accelerator, and what drives it, is decided in package gpu.
package host

import (
	"bytes"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// ReadTree reads a node's own files: root is / of this host, or of a captured
// tree, which may be hostile. What is absent or cannot be read stays empty.
func ReadTree(c *gpu.Catalogue, root *os.Root, name string) inventory.Node {
	return tree{root: root}.readNode(c, name)
}

// Parts are the files of a node where they do not lie below one root: each is
// that directory of the node. Without one, what lies there is as if absent.
type Parts struct{ Sys, Proc, Etc *os.Root }

// ReadParts is ReadTree for a tree in parts.
func ReadParts(c *gpu.Catalogue, p Parts, name string) inventory.Node {
	return tree{parts: map[string]*os.Root{"sys": p.Sys, "proc": p.Proc, "etc": p.Etc}}.readNode(c, name)
}

func (t tree) readNode(c *gpu.Catalogue, name string) inventory.Node {
	n := inventory.Node{
		Name: name, Sources: []string{inventory.FromSysfs}, Kernel: t.readText("proc/sys/kernel/osrelease"),
		Arch: t.readArch(), OS: t.readOS(), Runtime: t.findRuntime(), Cgroup: t.cgroupVersion(), SecureBoot: t.readSecureBoot(),
		IOMMUGroups: len(t.listNames("sys/kernel/iommu_groups")), HugePages: t.readHugePages(), RDMA: t.readRDMA(),
	}
	n.GPUs, n.Switches = c.Accelerators(t.readFunctions())
	n.Driver = gpu.DriverOfHost(n.GPUs, t.readHostFiles(gpu.HostFileNames()))
	return n
}

// hostFiles are those of some files and directories that are there.
func (t tree) readHostFiles(names []string) gpu.HostFiles {
	out := gpu.HostFiles{}
	for _, name := range names {
		if t.has(name) {
			out[name] = t.readText(name)
		}
	}
	return out
}

const pciDevices = "sys/bus/pci/devices"

// readFunctions reads the PCI functions.
func (t tree) readFunctions() []inventory.GPU {
	var out []inventory.GPU
	for _, at := range t.listNames(pciDevices) {
		out = append(out, t.readFunction(path.Join(pciDevices, at)))
	}
	return out
}

// readFunction reads one PCI function.
func (t tree) readFunction(dir string) inventory.GPU {
	class := inventory.HexDigits(t.readText(dir, "class"))
	g := inventory.GPU{
		Vendor: inventory.HexDigits(t.readText(dir, "vendor")), Device: inventory.HexDigits(t.readText(dir, "device")),
		Virtual: t.has(path.Join(dir, "physfn")), Count: 1,
	}
	if len(class) == 6 {
		g.Class = class[:4]
	}
	if g.Bound = t.readLink(path.Join(dir, "driver")); g.Bound == "" {
		g.Bound = t.driverInUevent(dir)
	}
	return g
}

// driverInUevent finds the driver where a capture has lost the links.
func (t tree) driverInUevent(dir string) string {
	for line := range strings.Lines(string(t.readBytes(path.Join(dir, "uevent")))) {
		if name, ok := strings.CutPrefix(line, "DRIVER="); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

func (t tree) readArch() string {
	switch t.readText("proc/sys/kernel/arch") {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	info := t.readBytes("proc/cpuinfo")
	switch {
	case bytes.Contains(info, []byte("CPU implementer")):
		return "arm64"
	case bytes.Contains(info, []byte("vendor_id")):
		return "amd64"
	}
	return ""
}

func (t tree) readOS() inventory.OS {
	text := t.readBytes("etc/os-release")
	if text == nil {
		text = t.readBytes("usr/lib/os-release")
	}
	return ParseOSRelease(text)
}

// ParseOSRelease reads /etc/os-release: lines of KEY=value, as a shell would read
// them without its expansions (os-release(5)).
func ParseOSRelease(text []byte) inventory.OS {
	var o inventory.OS
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = unquote(value); key {
		case "ID":
			o.ID = value
		case "VERSION_ID":
			o.Version = value
		case "OSTREE_VERSION":
			o.OSTree = value
		}
	}
	return o
}

// unquote takes a shell's quotes off, and keeps only what can stand in the tag of an
// image.
func unquote(s string) string {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	return inventory.TagWord(s)
}

// runtimes are the container runtimes by a file that is there while they run, or
// once they are set up.
var runtimes = [][2]string{
	{"run/k3s/containerd/containerd.sock", "containerd (k3s)"},
	{"run/containerd/containerd.sock", "containerd"},
	{"run/crio/crio.sock", "cri-o"},
	{"var/snap/microk8s/common/run/containerd.sock", "containerd (microk8s)"},
	{"run/cri-dockerd.sock", "docker"},
	{"etc/containerd/config.toml", "containerd (stopped)"},
	{"etc/crio/crio.conf", "cri-o (stopped)"},
}

func (t tree) findRuntime() string {
	for _, r := range runtimes {
		if t.has(r[0]) {
			return r[1]
		}
	}
	return ""
}

func (t tree) cgroupVersion() int {
	switch {
	case t.has("sys/fs/cgroup/cgroup.controllers"):
		return 2
	case t.has("sys/fs/cgroup/memory"), t.has("sys/fs/cgroup/cpu"), t.has("sys/fs/cgroup/unified"):
		return 1
	}
	return 0
}

const secureBootVariable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// readSecureBoot reads the firmware's variable: four bytes of attributes, one of value.
func (t tree) readSecureBoot() string {
	if !t.has("sys/firmware/efi") {
		if t.has("sys/firmware") {
			return "none"
		}
		return ""
	}
	switch v := t.readBytes(secureBootVariable); {
	case len(v) != 5:
		return ""
	case v[4] == 1:
		return "on"
	}
	return "off"
}

const hugePagePools = "sys/kernel/mm/hugepages"

func (t tree) readHugePages() []inventory.HugePages {
	var out []inventory.HugePages
	for _, name := range t.listNames(hugePagePools) {
		size, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "hugepages-"), "kB"))
		n, bad := strconv.Atoi(t.readText(hugePagePools, name, "nr_hugepages"))
		if err == nil && bad == nil && size > 0 && n > 0 {
			out = append(out, inventory.HugePages{SizeKiB: size, Count: n})
		}
	}
	slices.SortFunc(out, func(a, b inventory.HugePages) int { return a.SizeKiB - b.SizeKiB })
	return out
}

const rdmaAdapters = "sys/class/infiniband"

func (t tree) readRDMA() []inventory.RDMA {
	var out []inventory.RDMA
	for _, name := range t.listNames(rdmaAdapters) {
		if unquote(name) == "" {
			continue
		}
		dir := path.Join(rdmaAdapters, name)
		out = append(out, inventory.RDMA{
			Name: name, Link: unquote(t.readText(dir, "ports/1/link_layer")),
			Switch: bytes.Contains(t.readBytes(path.Join(dir, "device/vpd")), []byte("SW_MNG")),
		})
	}
	return out
}
