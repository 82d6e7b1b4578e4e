package charts_test

// This file is what a cluster of two vendors and three products should get of a plan, its
// GPUs whole, cut and shared, by what NVIDIA and AMD publish of their operators: the labels from the sources of GPU feature discovery,
// of the operators and of AMD's node labeller, the drivers from NVIDIA's pages on
// NVIDIADriver, the quotas and sizes from the rules in the charts' values.yaml.

// expectedSite is one cluster and what is to come of it.
type expectedSite struct {
	name  string
	nodes []siteNode
	// inventory says that an inventory file alone tells of GPUs: nodes have no labels yet.
	inventory bool
	policy    string // of the site file, below gpu
	teams     []any
	models    []string // of siteModels
	flavors   map[string]string
	queues    map[string]quotas
	pool      quotas
	groups    [][]string
	local     map[string]string // namespace: cluster queue
	places    map[string]expectedServing
	drivers   []expectedDriver
	held      string // what the plan says of GPUs that pods hold
}

// expectedDriver is one NVIDIADriver.
type expectedDriver struct {
	tag         string // of the image that the bundle has
	precompiled bool   // then the operator puts kernel and system into the tag itself
	version     string // what it says then; else the image's digest
	nodes       []string
}

// siteNode is a machine: what its probe finds, how discovery labels it, what it offers.
type siteNode struct {
	name, os, kernel string
	device, product  string // PCI id, and how the catalogue calls it
	vendor           string // of PCI
	gpus             int
	labels, offers   map[string]string
}

// Labels that NVIDIA's discovery and operator write of eight H100, where all is whole.
var h100Labels = map[string]string{
	"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8",
	"nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.replicas": "1", "nvidia.com/gpu.sharing-strategy": "none",
	"nvidia.com/gpu.family": "hopper", "nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0",
	"nvidia.com/mig.capable": "true", "nvidia.com/mig.config": "all-disabled", "nvidia.com/mig.config.state": "success",
	"nvidia.com/gpu.deploy.driver": "true", "nvidia.com/cuda.driver-version.full": "595.91.07",
	"feature.node.kubernetes.io/pci-0302_10de.present": "true",
}

var l4Labels = map[string]string{
	"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.count": "4",
	"nvidia.com/gpu.memory": "23034", "nvidia.com/gpu.replicas": "1", "nvidia.com/gpu.sharing-strategy": "none",
	"nvidia.com/gpu.family": "ampere", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "9",
	"nvidia.com/mig.capable": "false", "nvidia.com/gpu.deploy.driver": "true",
	"nvidia.com/cuda.driver-version.full":              "595.91.07",
	"feature.node.kubernetes.io/pci-0302_10de.present": "true",
}

var mi300xLabels = map[string]string{
	"feature.node.kubernetes.io/amd-gpu": "true", "feature.node.kubernetes.io/pci-1200_1002.present": "true",
	"amd.com/gpu.device-id": "74a1", "amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G",
	"amd.com/gpu.family": "AI", "amd.com/gpu.cu-count": "304", "amd.com/gpu.simd-count": "1216", "amd.com/gpu.driver-version": "6.10.5",
}

// but are labels of which some are otherwise.
func but(labels, other map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{labels, other} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

const (
	jammyKernel = "5.15.0-105-generic"
	nobleKernel = "6.11.0-26-generic"
)

func h100Node(name string, labels, offers map[string]string) siteNode {
	return siteNode{
		name: name, os: "22.04", kernel: jammyKernel, vendor: "10de", device: "2330", product: "H100 SXM5 80GB",
		gpus: 8, labels: labels, offers: offers,
	}
}

func l4Node(name string, labels, offers map[string]string) siteNode {
	return siteNode{
		name: name, os: "24.04", kernel: nobleKernel, vendor: "10de", device: "27b8", product: "L4",
		gpus: 4, labels: labels, offers: offers,
	}
}

func mi300xNode(name string) siteNode {
	return siteNode{
		name: name, os: "24.04", kernel: "6.8.0-60-generic", vendor: "1002", device: "74a1", product: "Instinct MI300X",
		gpus: 8, labels: mi300xLabels, offers: map[string]string{"amd.com/gpu": "8"},
	}
}

var (
	wholeH100   = h100Node("h1", h100Labels, map[string]string{"nvidia.com/gpu": "8"})
	balanceH100 = h100Node("h2", but(h100Labels, map[string]string{
		"nvidia.com/gpu.replicas": "0", "nvidia.com/mig.strategy": "mixed", "nvidia.com/mig.config": "all-balanced",
		"nvidia.com/mig-1g.10gb.count": "16", "nvidia.com/mig-1g.10gb.replicas": "1", "nvidia.com/mig-1g.10gb.memory": "9984",
		"nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
		"nvidia.com/mig-2g.20gb.count":   "8", "nvidia.com/mig-2g.20gb.replicas": "1", "nvidia.com/mig-2g.20gb.memory": "20096",
		"nvidia.com/mig-2g.20gb.product": "NVIDIA-H100-80GB-HBM3-MIG-2g.20gb",
		"nvidia.com/mig-3g.40gb.count":   "8", "nvidia.com/mig-3g.40gb.replicas": "1", "nvidia.com/mig-3g.40gb.memory": "40320",
		"nvidia.com/mig-3g.40gb.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
	}), map[string]string{"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "16", "nvidia.com/mig-2g.20gb": "8", "nvidia.com/mig-3g.40gb": "8"})
	slicedH100 = h100Node("h2", but(h100Labels, map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.count": "56", "nvidia.com/gpu.memory": "9984",
		"nvidia.com/gpu.slices.gi": "1", "nvidia.com/gpu.slices.ci": "1", "nvidia.com/mig.strategy": "single", "nvidia.com/mig.config": "all-1g.10gb",
	}), map[string]string{"nvidia.com/gpu": "56"})
	sharedL4 = l4Node("l1", but(l4Labels, map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing",
	}), map[string]string{"nvidia.com/gpu": "16"})
	wholeL4 = l4Node("l2", l4Labels, map[string]string{"nvidia.com/gpu": "4"})
	amdNode = mi300xNode("a1")
)

const (
	h100Product   = "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3"
	mi300xProduct = "amd.com/gpu.product-name=AMD_Instinct_MI300X_OAM"
)

// siteModels: one for the smallest part, one that fits a whole L4 and no smaller thing, one
// that fits a whole MI300X alone.
var siteModels = map[string]map[string]any{
	"org/tiny":  model("tiny", 1, 46080, 8192),
	"org/seven": model("seven", 15, 131072, 16384),
	"org/large": model("large", 132, 327680, 131072),
}

var threeModels = []string{"org/large", "org/seven", "org/tiny"}

// twoDrivers are those of the H100 nodes, whose kernel has an image of its own, and of the
// L4 nodes, whose has none.
var twoDrivers = []expectedDriver{
	{tag: "595-5.15.0-105-generic-ubuntu22.04", precompiled: true, version: "595", nodes: []string{"h1", "h2"}},
	{tag: "595.91.07-ubuntu24.04", nodes: []string{"l1", "l2"}},
}

var mixedGroups = [][]string{
	{"cpu", "memory"}, {"amd.com/gpu"},
	{"nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb", "nvidia.com/mig-3g.40gb"},
}

var hospitalQueues = map[string]string{"radiology": "radiology", "genomics": "genomics", "genomics-batch": "genomics"}

// mixedQueues are the quotas of the hospital's teams, three to one, of what the three
// models leave.
var mixedQueues = map[string]quotas{
	"radiology": {
		"cpu cpu": "7", "cpu memory": "30Gi",
		"nvidia-h100-80gb-hbm3 nvidia.com/gpu":                     "6",  // of 8
		"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/mig-1g.10gb": "11", // of 15, one serves tiny
		"nvidia-h100-80gb-hbm3-mig-2g-20gb nvidia.com/mig-2g.20gb": "6",  // of 8
		"nvidia-h100-80gb-hbm3-mig-3g-40gb nvidia.com/mig-3g.40gb": "6",  // of 8
		"nvidia-l4 nvidia.com/gpu":                                 "2",  // of 3, one serves seven
		"nvidia-l4-shared nvidia.com/gpu":                          "12", // of 16
		"amd-instinct-mi300x amd.com/gpu":                          "5",  // of 7, one serves large
	},
	"genomics": {
		"cpu cpu": "2", "cpu memory": "10Gi",
		"nvidia-h100-80gb-hbm3 nvidia.com/gpu":                     "2",
		"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/mig-1g.10gb": "3",
		"nvidia-h100-80gb-hbm3-mig-2g-20gb nvidia.com/mig-2g.20gb": "2",
		"nvidia-h100-80gb-hbm3-mig-3g-40gb nvidia.com/mig-3g.40gb": "2",
		"nvidia-l4 nvidia.com/gpu":                                 "0",
		"nvidia-l4-shared nvidia.com/gpu":                          "4",
		"amd-instinct-mi300x amd.com/gpu":                          "1",
	},
}

var mixedPool = quotas{
	"cpu cpu": "1", "cpu memory": "1Gi",
	"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/mig-1g.10gb": "1",
	"nvidia-l4 nvidia.com/gpu":                                 "1",
	"amd-instinct-mi300x amd.com/gpu":                          "1",
}

func mixedFlavors(amd string) map[string]string {
	return map[string]string{
		"cpu": "", "amd-instinct-mi300x": amd,
		"nvidia-h100-80gb-hbm3":             h100Product,
		"nvidia-h100-80gb-hbm3-mig-1g-10gb": h100Product,
		"nvidia-h100-80gb-hbm3-mig-2g-20gb": h100Product,
		"nvidia-h100-80gb-hbm3-mig-3g-40gb": h100Product,
		"nvidia-l4":                         "nvidia.com/gpu.product=NVIDIA-L4",
		"nvidia-l4-shared":                  "nvidia.com/gpu.product=NVIDIA-L4-SHARED",
	}
}

// mixedPlaces are the places of the three models; amd chooses the nodes of the largest.
func mixedPlaces(amd map[string]string) map[string]expectedServing {
	return map[string]expectedServing{
		"large": {
			runtime: "caisson-vllm-amd", limits: map[string]string{"amd.com/gpu": "1"}, labels: amd,
			args: []string{"--max-model-len=32768", "--gpu-memory-utilization=0.90"},
		},
		"seven": {
			runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu": "1"},
			labels: map[string]string{"nvidia.com/gpu.product": "NVIDIA-L4"}, args: []string{"--max-model-len=16384"},
		},
		"tiny": {
			runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/mig-1g.10gb": "1"},
			labels: map[string]string{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, args: []string{"--max-model-len=8192"},
		},
	}
}

var amdLabels = map[string]string{"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}

const mixedHeld = "1 amd-instinct-mi300x, 1 nvidia-h100-80gb-hbm3-mig-1g-10gb, 1 nvidia-l4"

var siteTable = []expectedSite{
	{
		name:  "several sizes of parts under operators at work",
		nodes: []siteNode{wholeH100, balanceH100, sharedL4, wholeL4, amdNode}, teams: hospital, models: threeModels,
		flavors: mixedFlavors(mi300xProduct), queues: mixedQueues, pool: mixedPool, groups: mixedGroups, local: hospitalQueues,
		places: mixedPlaces(amdLabels), drivers: twoDrivers, held: mixedHeld,
	},
	{
		name:  "several sizes of parts by an inventory and a policy",
		nodes: []siteNode{wholeH100, balanceH100, sharedL4, wholeL4, amdNode}, inventory: true, teams: hospital, models: threeModels,
		policy: "mig: {strategy: mixed, layouts: [{nodes: [h2], profiles: {1g.10gb: 2, 2g.20gb: 1, 3g.40gb: 1}}]}\n" +
			"    timeSlicing: [{nodes: [l1], replicas: 4}]\n",
		// Nobody can say how AMD's labeller will call the product before it is there.
		flavors: mixedFlavors(""), queues: mixedQueues, pool: mixedPool, groups: mixedGroups, local: hospitalQueues,
		places: mixedPlaces(map[string]string{}), drivers: twoDrivers, held: mixedHeld,
	},
	singleSite("one size of parts under operators at work", false, ""),
	singleSite("one size of parts by an inventory and a policy", true,
		"mig: {layouts: [{nodes: [h2], profiles: {1g.10gb: 7}}]}\n    timeSlicing: [{nodes: [l1], replicas: 4}]\n"),
	singleSite("one size of parts by a policy that was carried out", false,
		"mig: {layouts: [{nodes: [h2], profiles: {1g.10gb: 7}}]}\n    timeSlicing: [{nodes: [l1], replicas: 4}]\n"),
	{
		name:    "one GPU that a model has and nobody said who the teams are",
		nodes:   []siteNode{l4Node("l2", but(l4Labels, map[string]string{"nvidia.com/gpu.count": "1"}), map[string]string{"nvidia.com/gpu": "1"})},
		models:  []string{"org/seven"},
		flavors: map[string]string{"cpu": "", "nvidia-l4": "nvidia.com/gpu.product=NVIDIA-L4"},
		queues:  map[string]quotas{"everyone": {"cpu cpu": "10", "cpu memory": "41Gi", "nvidia-l4 nvidia.com/gpu": "0"}},
		pool:    quotas{"nvidia-l4 nvidia.com/gpu": "0"},
		groups:  [][]string{{"cpu", "memory"}, {"nvidia.com/gpu"}},
		local:   map[string]string{"default-team": "everyone"},
		places:  map[string]expectedServing{"seven": mixedPlaces(nil)["seven"]},
		drivers: nil, // one image for all: the operator's values say it
		held:    "1 nvidia-l4",
	},
}

// singleSite is the cluster where all GPUs of a node are cut alike.
func singleSite(name string, inventory bool, policy string) expectedSite {
	amd, places := mi300xProduct, mixedPlaces(amdLabels)
	if inventory {
		amd, places = "", mixedPlaces(map[string]string{})
	}
	nodes := []siteNode{wholeH100, slicedH100, sharedL4, wholeL4, amdNode}
	if policy != "" { // as the plan itself has labelled them
		nodes[1].labels = but(slicedH100.labels, map[string]string{"nvidia.com/mig.config": "1g.10gb.7"})
		nodes[2].labels = but(sharedL4.labels, map[string]string{"nvidia.com/device-plugin.config": "gpu-4"})
	}
	places["tiny"] = expectedServing{
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu": "1"},
		labels: map[string]string{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"}, args: []string{"--max-model-len=8192"},
	}
	return expectedSite{
		name: name, inventory: inventory, policy: policy, teams: hospital, models: threeModels,
		nodes: nodes,
		flavors: map[string]string{
			"cpu": "", "amd-instinct-mi300x": amd,
			"nvidia-h100-80gb-hbm3":             h100Product,
			"nvidia-h100-80gb-hbm3-mig-1g-10gb": h100Product + "-MIG-1g.10gb",
			"nvidia-l4":                         "nvidia.com/gpu.product=NVIDIA-L4",
			"nvidia-l4-shared":                  "nvidia.com/gpu.product=NVIDIA-L4-SHARED",
		},
		queues: map[string]quotas{
			"radiology": {
				"cpu cpu": "7", "cpu memory": "30Gi",
				"nvidia-h100-80gb-hbm3 nvidia.com/gpu":             "6",
				"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/gpu": "41", // of 55, one serves tiny
				"nvidia-l4 nvidia.com/gpu":                         "2",
				"nvidia-l4-shared nvidia.com/gpu":                  "12",
				"amd-instinct-mi300x amd.com/gpu":                  "5",
			},
			"genomics": {
				"cpu cpu": "2", "cpu memory": "10Gi",
				"nvidia-h100-80gb-hbm3 nvidia.com/gpu":             "2",
				"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/gpu": "13",
				"nvidia-l4 nvidia.com/gpu":                         "0",
				"nvidia-l4-shared nvidia.com/gpu":                  "4",
				"amd-instinct-mi300x amd.com/gpu":                  "1",
			},
		},
		pool: quotas{
			"cpu cpu": "1", "cpu memory": "1Gi", "nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/gpu": "1",
			"nvidia-l4 nvidia.com/gpu": "1", "amd-instinct-mi300x amd.com/gpu": "1",
		},
		groups: [][]string{{"cpu", "memory"}, {"amd.com/gpu"}, {"nvidia.com/gpu"}},
		local:  hospitalQueues, places: places, drivers: twoDrivers, held: mixedHeld,
	}
}
