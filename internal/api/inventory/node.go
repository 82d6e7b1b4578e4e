package inventory

// Node is what is known of one node. A field that nothing told is empty.
type Node struct {
	// Name of the node, or a hash of it.
	Name string `yaml:"name" json:"name" jsonschema:"required,minLength=1,maxLength=253"`
	// Sources say where this was read: sysfs, labels, probe, status.
	Sources []string `yaml:"sources,omitempty" json:"sources,omitempty"`
	// Arch is the processor's, as Go writes it: amd64, arm64.
	Arch string `yaml:"arch,omitempty" json:"arch,omitempty"`
	// Kernel is the running release, as uname -r prints it.
	Kernel string `yaml:"kernel,omitempty" json:"kernel,omitempty"`
	// OS is the distribution.
	OS OS `yaml:"os,omitempty" json:"os,omitzero"`
	// Runtime is the container runtime, with its version where known.
	Runtime string `yaml:"runtime,omitempty" json:"runtime,omitempty"`
	// Cgroup is the version of control groups in use: 1 or 2.
	Cgroup int `yaml:"cgroup,omitempty" json:"cgroup,omitempty"`
	// GPUs are the accelerators, like ones counted together.
	GPUs []GPU `yaml:"gpus,omitempty" json:"gpus,omitempty"`
	// Product is the label in which the vendor's own labeller names the GPUs, as it is.
	Product string `yaml:"product,omitempty" json:"product,omitempty"`
	// Layout is the configuration of MIG that the node was given and has, by its name.
	Layout string `yaml:"layout,omitempty" json:"layout,omitempty"`
	// Switches is the number of NVSwitch bridges, which are no GPUs.
	Switches int `yaml:"switches,omitempty" json:"switches,omitempty"`
	// Driver is the driver of the node's GPUs.
	Driver Driver `yaml:"driver,omitempty" json:"driver,omitzero"`
	// SecureBoot is on, off, or none where the machine has no UEFI.
	SecureBoot string `yaml:"secureBoot,omitempty" json:"secureBoot,omitempty" jsonschema:"enum=on,enum=off,enum=none"`
	// IOMMUGroups is the number of groups; 0 means that it is off.
	IOMMUGroups int `yaml:"iommuGroups,omitempty" json:"iommuGroups,omitempty"`
	// HugePages are the pools that hold pages.
	HugePages []HugePages `yaml:"hugePages,omitempty" json:"hugePages,omitempty"`
	// RDMA are the network adapters that can move memory.
	RDMA []RDMA `yaml:"rdma,omitempty" json:"rdma,omitempty"`
	// Resources are what the node offers to pods, by resource name.
	Resources []Resource `yaml:"resources,omitempty" json:"resources,omitempty"`
}

// OS is a distribution.
type OS struct {
	// ID is the distribution, such as ubuntu.
	ID string `yaml:"id,omitempty" json:"id,omitempty"`
	// Version is its VERSION_ID, such as 24.04.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// OSTree is the image version of an RHCOS.
	OSTree string `yaml:"ostree,omitempty" json:"ostree,omitempty"`
}

// GPU is a number of like accelerators.
type GPU struct {
	// Vendor and Device are PCI ids in four hexadecimal digits; empty where only
	// labels tell.
	Vendor string `yaml:"vendor,omitempty" json:"vendor,omitempty" jsonschema:"pattern=^[0-9a-f]{4}$"`
	// Device is the PCI device id.
	Device string `yaml:"device,omitempty" json:"device,omitempty" jsonschema:"pattern=^[0-9a-f]{4}$"`
	// Class is the PCI class in four digits, such as 0302.
	Class string `yaml:"class,omitempty" json:"class,omitempty" jsonschema:"pattern=^[0-9a-f]{4}$"`
	// Product is the catalogue's name, or the one in the node's labels; empty
	// where neither knows it.
	Product string `yaml:"product,omitempty" json:"product,omitempty"`
	// Architecture such as hopper; empty where unknown.
	Architecture string `yaml:"architecture,omitempty" json:"architecture,omitempty"`
	// Compute is NVIDIA's compute capability, such as 9.0.
	Compute string `yaml:"compute,omitempty" json:"compute,omitempty"`
	// MemoryGiB is the nominal memory of one; 0 where unknown.
	MemoryGiB int `yaml:"memoryGiB,omitempty" json:"memoryGiB,omitempty"`
	// MIG says that one can be cut into several.
	MIG bool `yaml:"mig,omitempty" json:"mig,omitempty"`
	// Virtual says that these are SR-IOV functions of others.
	Virtual bool `yaml:"virtual,omitempty" json:"virtual,omitempty"`
	// Bound is the kernel driver that holds them, such as nvidia or vfio-pci.
	Bound string `yaml:"bound,omitempty" json:"bound,omitempty"`
	// Count of them; 0 where it is only known that there are some.
	Count int `yaml:"count" json:"count" jsonschema:"required,minimum=0"`
	// AtLeast says that there may be more than Count, because only their parts are counted.
	AtLeast bool `yaml:"atLeast,omitempty" json:"atLeast,omitempty"`
}

// Sources of a Node.
const (
	FromSysfs  = "sysfs"
	FromLabels = "labels"
	FromProbe  = "probe" // the node's own files, read by a pod there
	FromStatus = "status"
)

// States of a driver.
const (
	DriverNone      = "none"      // no module is loaded
	DriverInTree    = "in-tree"   // the kernel's own
	DriverNouveau   = "nouveau"   // the kernel's own, which computes nothing
	DriverInstalled = "installed" // one that was brought to the host
)

// Kinds of an installed driver's modules.
const (
	OpenModules        = "open"
	ProprietaryModules = "proprietary"
)

// Driver is the driver of a node's GPUs.
type Driver struct {
	// State is none, in-tree, nouveau or installed.
	State string `yaml:"state,omitempty" json:"state,omitempty" jsonschema:"enum=none,enum=in-tree,enum=nouveau,enum=installed"`
	// Names are the modules.
	Names []string `yaml:"names,omitempty" json:"names,omitempty"`
	// Version of NVIDIA's.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// Contained says that an operator's container brought it, not the host.
	Contained bool `yaml:"contained,omitempty" json:"contained,omitempty"`
	// Modules are open or proprietary.
	Modules string `yaml:"modules,omitempty" json:"modules,omitempty" jsonschema:"enum=open,enum=proprietary"`
}

// HugePages is one pool.
type HugePages struct {
	// SizeKiB of one page.
	SizeKiB int `yaml:"sizeKiB" json:"sizeKiB" jsonschema:"required"`
	// Count of pages.
	Count int `yaml:"count" json:"count" jsonschema:"required"`
}

// RDMA is an adapter.
type RDMA struct {
	// Name such as mlx5_0.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Link is InfiniBand or Ethernet.
	Link string `yaml:"link,omitempty" json:"link,omitempty"`
	// Switch says that it manages NVLink switches rather than a network.
	Switch bool `yaml:"switch,omitempty" json:"switch,omitempty"`
}

// Resource is what a node offers of one kind.
type Resource struct {
	// Name such as nvidia.com/gpu.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Capacity is what the device plugin registered.
	Capacity int64 `yaml:"capacity" json:"capacity"`
	// Allocatable is what pods can have of it.
	Allocatable int64 `yaml:"allocatable" json:"allocatable"`
	// Shared is how many pods take turns on each GPU or part, where labels say so.
	Shared int `yaml:"shared,omitempty" json:"shared,omitempty"`
}

// Physical lists the GPUs that are no virtual functions.
func (n Node) Physical() []GPU {
	var out []GPU
	for _, g := range n.GPUs {
		if !g.Virtual {
			out = append(out, g)
		}
	}
	return out
}

// Known says whether the catalogue or the labels name it.
func (g GPU) Known() bool { return g.Architecture != "" }

// ID is vendor:device.
func (g GPU) ID() string { return g.Vendor + ":" + g.Device }
