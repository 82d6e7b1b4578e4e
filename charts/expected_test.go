package charts_test

// This file is what a cluster with many kinds of GPUs should get from the charts
// gpu-queues and model-serving. It was written before them.

// fact is one entry of site.gpus, as caisson plan gives it to a chart.
type fact map[string]any

// The GPUs of the cluster that the tables are about: two vendors, three products, one
// of them also cut into MIG slices, another shared by time.
var (
	h100 = fact{
		"name": "nvidia-h100-80gb-hbm3", "vendor": "nvidia", "product": "NVIDIA-H100-80GB-HBM3",
		"resource": "nvidia.com/gpu", "memoryGiB": 80, "count": 16, "nodes": 2, "perNode": 8,
		"nodeLabels": map[string]any{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
	}
	h100Slice = fact{
		"name": "nvidia-h100-80gb-hbm3-mig-1g-10gb", "vendor": "nvidia", "product": "NVIDIA-H100-80GB-HBM3",
		"resource": "nvidia.com/mig-1g.10gb", "memoryGiB": 10, "count": 14, "nodes": 1, "perNode": 14,
		"profile":    "1g.10gb",
		"nodeLabels": map[string]any{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/mig.strategy": "mixed"},
	}
	l4Shared = fact{
		"name": "nvidia-l4-shared", "vendor": "nvidia", "product": "NVIDIA-L4-SHARED",
		"resource": "nvidia.com/gpu.shared", "memoryGiB": 24, "count": 16, "nodes": 2, "perNode": 8, "shared": 4,
		"nodeLabels": map[string]any{"nvidia.com/gpu.product": "NVIDIA-L4-SHARED"},
	}
	mi300x = fact{
		"name": "amd-instinct-mi300x", "vendor": "amd", "product": "AMD_Instinct_MI300X_OAM",
		"resource": "amd.com/gpu", "memoryGiB": 192, "count": 8, "nodes": 1, "perNode": 8,
		"nodeLabels": map[string]any{"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"},
	}
	manyKinds = []any{mi300x, h100, h100Slice, l4Shared}
)

// expectedQueues says, for teams at a site, what each queue may always have and what
// all of them take from in turn. Keys are "flavor resource".
type expectedQueues struct {
	name    string
	gpus    []any
	values  map[string]any
	flavors map[string]string // resource flavor: its node labels, "key=value" sorted
	queues  map[string]quotas // cluster queue: its nominal quotas
	pool    quotas            // of the cohort
	groups  [][]string        // covered resources of each resource group
	refused string            // what the message has to say; then nothing else counts
}

type quotas map[string]string

var hospital = []any{
	map[string]any{"name": "radiology", "namespaces": []any{"radiology"}, "weight": 3},
	map[string]any{"name": "genomics", "namespaces": []any{"genomics", "genomics-batch"}, "weight": 1},
}

var queueTable = []expectedQueues{
	{
		name: "no GPUs, no teams: CPU and memory alone, for everyone",
		values: map[string]any{
			"cpu": map[string]any{"cpus": 64, "memoryGiB": 256},
		},
		flavors: map[string]string{"cpu": ""},
		queues:  map[string]quotas{"everyone": {"cpu cpu": "64", "cpu memory": "256Gi"}},
		pool:    quotas{"cpu cpu": "0", "cpu memory": "0"},
		groups:  [][]string{{"cpu", "memory"}},
	},
	{
		name:   "many kinds, two teams by weight, what does not divide goes to the pool",
		gpus:   manyKinds,
		values: map[string]any{"teams": hospital, "cpu": map[string]any{"cpus": 10, "memoryGiB": 41}},
		flavors: map[string]string{
			"cpu":                               "",
			"nvidia-h100-80gb-hbm3":             "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3",
			"nvidia-h100-80gb-hbm3-mig-1g-10gb": "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3 nvidia.com/mig.strategy=mixed",
			"nvidia-l4-shared":                  "nvidia.com/gpu.product=NVIDIA-L4-SHARED",
			"amd-instinct-mi300x":               "amd.com/gpu.product-name=AMD_Instinct_MI300X_OAM",
		},
		queues: map[string]quotas{
			"radiology": {
				"cpu cpu": "7", "cpu memory": "30Gi",
				"nvidia-h100-80gb-hbm3 nvidia.com/gpu":                     "12",
				"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/mig-1g.10gb": "10",
				"nvidia-l4-shared nvidia.com/gpu.shared":                   "12",
				"amd-instinct-mi300x amd.com/gpu":                          "6",
			},
			"genomics": {
				"cpu cpu": "2", "cpu memory": "10Gi",
				"nvidia-h100-80gb-hbm3 nvidia.com/gpu":                     "4",
				"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/mig-1g.10gb": "3",
				"nvidia-l4-shared nvidia.com/gpu.shared":                   "4",
				"amd-instinct-mi300x amd.com/gpu":                          "2",
			},
		},
		pool: quotas{
			"cpu cpu": "1", "cpu memory": "1Gi",
			"nvidia-h100-80gb-hbm3 nvidia.com/gpu":                     "0",
			"nvidia-h100-80gb-hbm3-mig-1g-10gb nvidia.com/mig-1g.10gb": "1",
			"nvidia-l4-shared nvidia.com/gpu.shared":                   "0",
			"amd-instinct-mi300x amd.com/gpu":                          "0",
		},
		groups: [][]string{
			{"cpu", "memory"}, {"amd.com/gpu"}, {"nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb"},
		},
	},
	{
		name: "guaranteed by name, some kept for serving, the rest by weight",
		gpus: []any{h100},
		values: map[string]any{
			"reserved": map[string]any{"nvidia-h100-80gb-hbm3": 2},
			"teams": []any{
				map[string]any{"name": "a", "namespaces": []any{"a"}, "guaranteed": map[string]any{"nvidia-h100-80gb-hbm3": 5}},
				map[string]any{"name": "b", "namespaces": []any{"b"}},
				map[string]any{"name": "c", "namespaces": []any{"c"}, "weight": 0},
			},
			"cpu": map[string]any{"cpus": 8, "memoryGiB": 8},
		},
		flavors: map[string]string{
			"cpu": "", "nvidia-h100-80gb-hbm3": "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3",
		},
		queues: map[string]quotas{
			"a": {"cpu cpu": "4", "cpu memory": "4Gi", "nvidia-h100-80gb-hbm3 nvidia.com/gpu": "5"},
			"b": {"cpu cpu": "4", "cpu memory": "4Gi", "nvidia-h100-80gb-hbm3 nvidia.com/gpu": "9"},
			"c": {"cpu cpu": "0", "cpu memory": "0", "nvidia-h100-80gb-hbm3 nvidia.com/gpu": "0"},
		},
		pool:   quotas{"cpu cpu": "0", "cpu memory": "0", "nvidia-h100-80gb-hbm3 nvidia.com/gpu": "0"},
		groups: [][]string{{"cpu", "memory"}, {"nvidia.com/gpu"}},
	},
	{
		name: "more is guaranteed than there is",
		gpus: []any{h100},
		values: map[string]any{"teams": []any{
			map[string]any{"name": "a", "namespaces": []any{"a"}, "guaranteed": map[string]any{"nvidia-h100-80gb-hbm3": 12}},
			map[string]any{"name": "b", "namespaces": []any{"b"}, "guaranteed": map[string]any{"nvidia-h100-80gb-hbm3": 5}},
		}},
		refused: "teams are guaranteed 17 of nvidia-h100-80gb-hbm3, and the site has 16",
	},
	{
		name: "a kind that is not there",
		gpus: []any{h100},
		values: map[string]any{"teams": []any{
			map[string]any{"name": "a", "namespaces": []any{"a"}, "guaranteed": map[string]any{"nvidia-h200": 1}},
		}},
		refused: "team a is guaranteed nvidia-h200, which the site does not have; it has: nvidia-h100-80gb-hbm3",
	},
	{
		name: "what other pods hold is not shared out, beside what people keep",
		gpus: []any{h100, mi300x},
		values: map[string]any{
			"site":     map[string]any{"reserved": map[string]any{"nvidia-h100-80gb-hbm3": 3, "amd-instinct-mi300x": 8}},
			"reserved": map[string]any{"nvidia-h100-80gb-hbm3": 1, "amd-instinct-mi300x": 1},
			"teams":    []any{map[string]any{"name": "a", "namespaces": []any{"a"}}},
			"cpu":      map[string]any{"cpus": 8, "memoryGiB": 8},
		},
		flavors: map[string]string{
			"cpu": "", "nvidia-h100-80gb-hbm3": "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3",
			"amd-instinct-mi300x": "amd.com/gpu.product-name=AMD_Instinct_MI300X_OAM",
		},
		queues: map[string]quotas{
			"a": {
				"cpu cpu": "8", "cpu memory": "8Gi", "nvidia-h100-80gb-hbm3 nvidia.com/gpu": "12",
				"amd-instinct-mi300x amd.com/gpu": "0",
			},
		},
		pool: quotas{
			"cpu cpu": "0", "cpu memory": "0", "nvidia-h100-80gb-hbm3 nvidia.com/gpu": "0", "amd-instinct-mi300x amd.com/gpu": "0",
		},
		groups: [][]string{{"cpu", "memory"}, {"amd.com/gpu"}, {"nvidia.com/gpu"}},
	},
	{
		name: "more is guaranteed than other pods leave",
		gpus: []any{h100},
		values: map[string]any{
			"site":     map[string]any{"reserved": map[string]any{"nvidia-h100-80gb-hbm3": 3}},
			"reserved": map[string]any{"nvidia-h100-80gb-hbm3": 1},
			"teams": []any{
				map[string]any{"name": "a", "namespaces": []any{"a"}, "guaranteed": map[string]any{"nvidia-h100-80gb-hbm3": 14}},
			},
		},
		refused: "teams are guaranteed 14 of nvidia-h100-80gb-hbm3, and the site has 12 for them (16, of which pods of the plan hold 3 and 1 are reserved)",
	},
	{
		name: "guaranteed, and nothing is known of GPUs",
		values: map[string]any{"teams": []any{
			map[string]any{"name": "a", "namespaces": []any{"a"}, "guaranteed": map[string]any{"nvidia-h200": 1}},
		}},
		refused: "team a is guaranteed nvidia-h200, and no GPU of the site is known: write an inventory with caisson nodes",
	},
	{
		name:    "reserved, and nothing is known of GPUs",
		values:  map[string]any{"reserved": map[string]any{"nvidia-h200": 1}},
		refused: "nvidia-h200 is reserved, and no GPU of the site is known",
	},
	{
		name: "two teams in one namespace",
		values: map[string]any{"teams": []any{
			map[string]any{"name": "a", "namespaces": []any{"x"}},
			map[string]any{"name": "b", "namespaces": []any{"y", "x"}},
		}},
		refused: "namespace x belongs to team a and to team b",
	},
}

// expectedServing says where a model should run.
type expectedServing struct {
	name    string
	gpus    []any
	model   map[string]any // of site.models
	values  map[string]any // of the model in values
	more    map[string]any // other values
	runtime string
	limits  map[string]string // of extended resources; nil: none
	labels  map[string]string // node selector
	args    []string          // among others
	refused []string          // what the message has to say; then nothing else counts
}

const gib = 1 << 30

// model is a fact of site.models.
func model(name string, weightsGiB, kvBytesPerToken, maxContext int) map[string]any {
	return map[string]any{
		"name": name, "repository": "org/" + name, "revision": "0123456789012345678901234567890123456789",
		"image": "huggingface.co/org/" + name + ":0123456789012345678901234567890123456789",
		"bytes": weightsGiB*gib + 4096, "weightsBytes": weightsGiB * gib, "parameters": weightsGiB * gib / 2,
		"dtype": "BF16", "maxContext": maxContext, "kvBytesPerToken": kvBytesPerToken,
	}
}

func labelsOf(f fact) map[string]string {
	out := map[string]string{}
	for k, v := range f["nodeLabels"].(map[string]any) {
		out[k], _ = v.(string)
	}
	return out
}

var (
	tiny  = model("tiny", 1, 46080, 8192)     // 0.35 GiB of KV cache
	seven = model("seven", 15, 131072, 32768) // 4 GiB
	large = model("large", 132, 327680, 131072)
	huge  = model("huge", 440, 70272, 163840)
)

var servingTable = []expectedServing{
	{
		name: "a tiny model takes a slice, the smallest that there is",
		gpus: manyKinds, model: tiny,
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/mig-1g.10gb": "1"}, labels: labelsOf(h100Slice),
		args: []string{"--max-model-len=8192"},
	},
	{
		name: "15 GiB do not fit a slice, and shared memory is nobody's: a whole GPU of the smaller kind",
		gpus: manyKinds, model: seven,
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu": "1"}, labels: labelsOf(h100),
		args: []string{"--max-model-len=32768"},
	},
	{
		name: "132 GiB fit one large GPU of the other vendor",
		gpus: manyKinds, model: large, values: map[string]any{"attentionHeads": 64},
		runtime: "caisson-vllm-amd", limits: map[string]string{"amd.com/gpu": "1"}, labels: labelsOf(mi300x),
		args: []string{"--max-model-len=32768"},
	},
	{
		name: "without the other vendor they are parted among two",
		gpus: []any{h100, h100Slice}, model: large,
		values:  map[string]any{"attentionHeads": 64, "contextLength": 4096},
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu": "2"}, labels: labelsOf(h100),
		args: []string{"--tensor-parallel-size=2", "--max-model-len=4096"},
	},
	{
		name: "440 GiB go to four of the large kind",
		gpus: manyKinds, model: huge, values: map[string]any{"attentionHeads": 128},
		runtime: "caisson-vllm-amd", limits: map[string]string{"amd.com/gpu": "4"}, labels: labelsOf(mi300x),
		args: []string{"--tensor-parallel-size=4"},
	},
	{
		name: "and to eight of the other where that is all there is",
		gpus: []any{h100}, model: huge, values: map[string]any{"attentionHeads": 128},
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu": "8"}, labels: labelsOf(h100),
		args: []string{"--tensor-parallel-size=8"},
	},
	{
		name: "nine attention heads cannot be parted",
		gpus: []any{h100}, model: large, values: map[string]any{"attentionHeads": 9},
		refused: []string{"model large", "142 GiB", "9 attention heads", "nvidia-h100-80gb-hbm3"},
	},
	{
		name: "eight divide 40 heads, not 10 of keys and values; two are too few",
		gpus: []any{h100}, model: huge, values: map[string]any{"attentionHeads": 40, "keyValueHeads": 10},
		refused: []string{"40 attention heads and the 10 of keys and values"},
	},
	{
		name: "each of eight has a copy of one of two heads",
		gpus: []any{h100}, model: huge, values: map[string]any{"attentionHeads": 64, "keyValueHeads": 2},
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu": "8"}, labels: labelsOf(h100),
		args: []string{"--tensor-parallel-size=8"},
	},
	{
		name: "too large for all",
		gpus: []any{h100Slice, l4Shared}, model: seven,
		refused: []string{"model seven", "19 GiB", "14 x nvidia-h100-80gb-hbm3-mig-1g-10gb", "16 x nvidia-l4-shared"},
	},
	{
		name: "a shared GPU only by name, and then its part of the memory",
		gpus: manyKinds, model: tiny, values: map[string]any{"gpu": "nvidia-l4-shared"},
		runtime: "caisson-vllm-nvidia", limits: map[string]string{"nvidia.com/gpu.shared": "1"}, labels: labelsOf(l4Shared),
		args: []string{"--gpu-memory-utilization=0.22"},
	},
	{
		name: "by name, and it does not fit",
		gpus: manyKinds, model: seven, values: map[string]any{"gpu": "nvidia-h100-80gb-hbm3-mig-1g-10gb"},
		refused: []string{"model seven", "nvidia-h100-80gb-hbm3-mig-1g-10gb", "10 GiB"},
	},
	{
		name: "no GPU wanted",
		gpus: manyKinds, model: tiny, values: map[string]any{"gpu": "none"},
		runtime: "caisson-vllm-cpu", args: []string{"--max-model-len=8192"},
	},
	{
		name: "no GPU there, and the model may use CPU", model: tiny, values: map[string]any{"cpu": true},
		runtime: "caisson-vllm-cpu",
	},
	{
		name: "no GPU there, and nobody said that CPU will do", model: tiny,
		refused: []string{"model tiny", "no GPU", "cpu: true"},
	},
	{
		name: "too large for CPU", model: large, values: map[string]any{"cpu": true},
		refused: []string{"model large", "no GPU", "16 GiB"},
	},
	{
		name: "more context than the model has",
		gpus: manyKinds, model: tiny, values: map[string]any{"contextLength": 9000},
		refused: []string{"model tiny", "9000", "8192"},
	},
	{
		name: "two replicas of which one finds no GPU any more",
		gpus: []any{h100}, model: seven, values: map[string]any{"replicas": 17},
		refused: []string{"model seven", "17"},
	},
}
