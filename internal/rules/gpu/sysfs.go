package gpu

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sources of a Node.
const (
	FromSysfs  = "sysfs"
	FromLabels = "labels"
	FromProbe  = "probe" // the node's own files, read by a pod there
	FromStatus = "status"
)

// ReadTree reads a node's own files: root is / of this host, or of a captured
// tree, which may be hostile. What is absent or cannot be read stays empty.
func ReadTree(c *Catalogue, root *os.Root, name string) Node {
	return tree{root: root}.node(c, name)
}

// Parts are the files of a node where they do not lie below one root: each is
// that directory of the node. Without one, what lies there is as if absent.
type Parts struct{ Sys, Proc, Etc *os.Root }

// ReadParts is ReadTree for a tree in parts.
func ReadParts(c *Catalogue, p Parts, name string) Node {
	return tree{parts: map[string]*os.Root{"sys": p.Sys, "proc": p.Proc, "etc": p.Etc}}.node(c, name)
}

func (t tree) node(c *Catalogue, name string) Node {
	n := Node{Name: name, Sources: []string{FromSysfs}, Kernel: t.word("proc/sys/kernel/osrelease"), Arch: t.arch(), OS: t.os(),
		Runtime: t.runtime(), Cgroup: t.cgroup(), SecureBoot: t.secureBoot(), IOMMUGroups: len(t.names("sys/kernel/iommu_groups")),
		HugePages: t.hugePages(), RDMA: t.rdma()}
	n.GPUs, n.Switches = t.functions(c)
	n.Driver = t.driver(n.GPUs)
	return n
}

const pci = "sys/bus/pci/devices"

// functions counts the accelerators among the PCI functions, and the bridges
// between them.
func (t tree) functions(c *Catalogue) (gpus []GPU, switches int) {
	for _, at := range t.names(pci) {
		f := t.function(path.Join(pci, at))
		switch {
		case f.Vendor == NVIDIA && (f.Class == "0680" || c.IsSwitch(f.Vendor, f.Device)):
			switches++
		case f.accelerates(c):
			gpus = count(gpus, c.describe(f))
		}
	}
	slices.SortFunc(gpus, compare)
	return gpus, switches
}

// function reads one PCI function.
func (t tree) function(dir string) GPU {
	class := hex(t.word(dir, "class"))
	g := GPU{Vendor: hex(t.word(dir, "vendor")), Device: hex(t.word(dir, "device")), Virtual: t.has(path.Join(dir, "physfn")), Count: 1}
	if len(class) == 6 {
		g.Class = class[:4]
	}
	if g.Bound = t.link(path.Join(dir, "driver")); g.Bound == "" {
		g.Bound = t.uevent(dir)
	}
	return g
}

// uevent finds the driver where a capture has lost the links.
func (t tree) uevent(dir string) string {
	for line := range strings.Lines(string(t.bytes(path.Join(dir, "uevent")))) {
		if name, ok := strings.CutPrefix(line, "DRIVER="); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// hex takes 0x from a number of hexadecimal digits; what is none becomes empty.
func hex(s string) string {
	s = strings.ToLower(strings.TrimPrefix(s, "0x"))
	if len(s) > 8 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// accelerates tells GPUs from the functions beside them: audio, USB, bridges, and
// the display of a board's management controller.
func (g GPU) accelerates(c *Catalogue) bool {
	if len(g.Vendor) != 4 || len(g.Device) != 4 {
		return false
	}
	switch g.Class {
	case "0300", "0302", "0380":
		return slices.Contains([]string{NVIDIA, AMD, Intel}, g.Vendor)
	case "1200":
		return true
	}
	_, known := c.Device(g.Vendor, g.Device)
	return known && g.Class != "0403" && g.Class != "0c03"
}

// describe adds what the catalogue knows of an id.
func (c *Catalogue) describe(g GPU) GPU {
	d, ok := c.Device(g.Vendor, g.Device)
	if !ok {
		return g
	}
	g.Product, g.Architecture, g.Compute, g.MemoryGiB, g.MIG = d.Product, d.Architecture, d.Compute, d.MemoryGiB, d.MIG != ""
	return g
}

// count adds g to its like.
func count(list []GPU, g GPU) []GPU {
	for i, x := range list {
		if x.Count -= list[i].Count; compare(x, g) == 0 {
			list[i].Count += g.Count
			return list
		}
	}
	return append(list, g)
}

func compare(a, b GPU) int {
	return cmp.Or(strings.Compare(a.Vendor, b.Vendor), strings.Compare(a.Device, b.Device), strings.Compare(a.Class, b.Class),
		strings.Compare(a.Bound, b.Bound), strings.Compare(strconv.FormatBool(a.Virtual), strconv.FormatBool(b.Virtual)))
}

func (t tree) arch() string {
	switch t.word("proc/sys/kernel/arch") {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	info := t.bytes("proc/cpuinfo")
	switch {
	case bytes.Contains(info, []byte("CPU implementer")):
		return "arm64"
	case bytes.Contains(info, []byte("vendor_id")):
		return "amd64"
	}
	return ""
}

func (t tree) os() OS {
	text := t.bytes("etc/os-release")
	if text == nil {
		text = t.bytes("usr/lib/os-release")
	}
	return ParseOSRelease(text)
}

// ParseOSRelease reads /etc/os-release: lines of KEY=value, as a shell would read
// them without its expansions (os-release(5)).
func ParseOSRelease(text []byte) OS {
	var o OS
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

var plain = regexp.MustCompile(`^[A-Za-z0-9._~+-]{1,64}$`)

// unquote keeps only what can stand in the tag of an image.
func unquote(s string) string {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	if !plain.MatchString(s) {
		return ""
	}
	return s
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

func (t tree) runtime() string {
	for _, r := range runtimes {
		if t.has(r[0]) {
			return r[1]
		}
	}
	return ""
}

func (t tree) cgroup() int {
	switch {
	case t.has("sys/fs/cgroup/cgroup.controllers"):
		return 2
	case t.has("sys/fs/cgroup/memory"), t.has("sys/fs/cgroup/cpu"), t.has("sys/fs/cgroup/unified"):
		return 1
	}
	return 0
}

const secureBoot = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// secureBoot reads the firmware's variable: four bytes of attributes, one of value.
func (t tree) secureBoot() string {
	if !t.has("sys/firmware/efi") {
		if t.has("sys/firmware") {
			return "none"
		}
		return ""
	}
	switch v := t.bytes(secureBoot); {
	case len(v) != 5:
		return ""
	case v[4] == 1:
		return "on"
	}
	return "off"
}

const pools = "sys/kernel/mm/hugepages"

func (t tree) hugePages() []HugePages {
	var out []HugePages
	for _, name := range t.names(pools) {
		size, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "hugepages-"), "kB"))
		n, bad := strconv.Atoi(t.word(pools, name, "nr_hugepages"))
		if err == nil && bad == nil && size > 0 && n > 0 {
			out = append(out, HugePages{SizeKiB: size, Count: n})
		}
	}
	slices.SortFunc(out, func(a, b HugePages) int { return a.SizeKiB - b.SizeKiB })
	return out
}

const adapters = "sys/class/infiniband"

func (t tree) rdma() []RDMA {
	var out []RDMA
	for _, name := range t.names(adapters) {
		if unquote(name) == "" {
			continue
		}
		dir := path.Join(adapters, name)
		out = append(out, RDMA{Name: name, Link: unquote(t.word(dir, "ports/1/link_layer")), Switch: bytes.Contains(t.bytes(path.Join(dir, "device/vpd")), []byte("SW_MNG"))})
	}
	return out
}

// driver finds what drives the node's GPUs.
func (t tree) driver(gpus []GPU) Driver {
	if d := t.nvidia(); d.State != "" {
		return d
	}
	var d Driver
	for _, name := range []string{"nouveau", "amdgpu", "i915", "xe", "habanalabs"} {
		bound := slices.ContainsFunc(gpus, func(g GPU) bool { return g.Bound == name })
		if bound || (len(gpus) > 0 && t.has("sys/module/"+name) && drives(name, gpus)) {
			d.Names = append(d.Names, name)
		}
	}
	switch {
	case slices.Contains(d.Names, "nouveau"):
		d.State = DriverNouveau
	case len(d.Names) > 0:
		d.State = DriverInTree
	case len(gpus) > 0:
		d.State = DriverNone
	}
	return d
}

// drives says whether a module of the kernel is for one of these GPUs.
func drives(module string, gpus []GPU) bool {
	vendor := map[string]string{"nouveau": NVIDIA, "amdgpu": AMD, "i915": Intel, "xe": Intel, "habanalabs": Habana}[module]
	return slices.ContainsFunc(gpus, func(g GPU) bool { return g.Vendor == vendor })
}

var driverVersion = regexp.MustCompile(`\b[0-9]{3}\.[0-9]{1,4}(\.[0-9]{1,4})?\b`)

// nvidia reads what NVIDIA's module says about itself.
func (t tree) nvidia() Driver {
	text := t.word("proc/driver/nvidia/version")
	if text == "" && !t.has("sys/module/nvidia") {
		return Driver{}
	}
	d := Driver{State: DriverInstalled, Names: []string{"nvidia"}, Version: driverVersion.FindString(text),
		Contained: t.has("run/nvidia/validations/.driver-ctr-ready")}
	switch {
	case strings.Contains(text, "Open Kernel Module"):
		d.Modules = OpenModules
	case text != "":
		d.Modules = ProprietaryModules
	}
	if d.Version == "" {
		d.Version = driverVersion.FindString(t.word("sys/module/nvidia/version"))
	}
	return d
}
