package decide

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// checkAccelerators holds what pods ask of GPUs, and what models take of their
// memory, against what the nodes come to offer.
func (m *maker) checkAccelerators() {
	if len(m.facts.GPU.Nodes) == 0 {
		return // nobody could look
	}
	asked := map[string]int64{}
	for _, p := range m.allParts() {
		for name, n := range p.podSum(Container.acceleratorCounts) {
			if m.checkOffered(p, name, n) && p.Copies > 0 {
				asked[name] += n * p.Copies
			}
		}
		for _, c := range p.Within {
			for name, n := range c.acceleratorCounts() {
				m.checkOffered(p, name, n)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if all, known := m.offeredTogether(name); known && asked[name] > all {
			m.addFinding(event.Finding{
				Severity: event.Warn, Code: event.CodeGPUCapacity,
				What: fmt.Sprintf("the pods of the plan ask for %d %s together; the nodes offer %d", asked[name], name, all),
				Why:  "those that come last wait until others end",
				Hint: "lower the replicas in the values of the site file, share GPUs with gpu.policy.timeSlicing, or add nodes",
			})
		}
	}
	for _, it := range m.selection.modelItems() {
		m.modelMemory(it)
	}
}

// acceleratorCounts are whole numbers; a limit stands for a request.
func (c Container) acceleratorCounts() map[string]int64 {
	out := map[string]int64{}
	for _, list := range []map[string]int64{c.Limits, c.Requests} {
		for name, n := range list {
			if gpu.IsAccelerator(name) && n >= 1000 {
				out[name] = max(out[name], n/1000)
			}
		}
	}
	return out
}

// checkOffered finds a pod that no node can take, as far as is known. It forbids the
// plan only where a device plugin counts already and stays as it is: a plan may
// bring one, and GPUs of nodes without labels are not seen.
func (m *maker) checkOffered(p ownedPart, name string, n int64) bool {
	best := int64(0)
	for _, o := range m.selection.offers {
		if o.Resources[name] == gpu.Some || o.Resources[name] >= n {
			return true
		}
		best = max(best, o.Resources[name])
	}
	f := event.Finding{
		Severity: event.Warn, Code: event.CodeGPURequest, Item: p.component,
		What: fmt.Sprintf("a pod of %s (%s) asks for %d %s; no node offers more than %d",
			p, p.location(), n, name, best),
		Why:  "it would wait for a node without end",
		Hint: "lower what the values of the site file ask for, or add a node with as many",
	}
	if best == 0 {
		f.What = fmt.Sprintf("a pod of %s (%s) asks for %d %s, which no node offers", p, p.location(), n, name)
		f.Hint = m.offerHint()
	}
	if best > 0 && p.Copies > 0 && (m.selection.gpu == nil || m.selection.gpu.Component == "") {
		f.Severity = event.Error
	}
	m.addFinding(f)
	return false
}

func (m *maker) offerHint() string {
	names := map[string]bool{}
	for _, o := range m.selection.offers {
		for name, n := range o.Resources {
			if n != 0 {
				names[name] = true
			}
		}
	}
	if len(names) > 0 {
		return "ask for what nodes offer: " + strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	}
	for _, n := range m.facts.GPU.Nodes {
		if len(n.Physical()) > 0 {
			return "there are GPUs without a device plugin: add the operator of their vendor to the stack, or enable its component in the site file"
		}
	}
	return "if nodes have GPUs that no label tells of, write an inventory with caisson nodes --probe export -o site-nodes.yaml and name it under gpu.nodes in the site file; else add a node with GPUs, or disable the component"
}

// offeredTogether is what all nodes offer.
func (m *maker) offeredTogether(name string) (all int64, known bool) {
	for _, o := range m.selection.offers {
		if o.Resources[name] == gpu.Some {
			return 0, false
		}
		all += o.Resources[name]
	}
	return all, true
}

// modelItems are the models of the selected components.
func (s *Selection) modelItems() []*lock.Item {
	var out []*lock.Item
	for i := range s.lock.Items {
		it := &s.lock.Items[i]
		if _, ok := lock.As[*lock.HubModel](it); ok && slices.ContainsFunc(s.Components, func(c Chosen) bool { return slices.Contains(it.Components, c.Component.Name) }) {
			out = append(out, it)
		}
	}
	return out
}

// modelMemory holds a model against the memory of the nodes' GPUs.
func (m *maker) modelMemory(it *lock.Item) {
	model, _ := lock.As[*lock.HubModel](it)
	weights := weightsOf(model)
	need := weights + weights/headroom
	var one, node int64
	for _, o := range m.selection.offers {
		if o.GPUs && o.TotalGiB == 0 {
			return // nobody knows
		}
		one, node = max(one, int64(o.LargestGiB)<<30), max(node, int64(o.TotalGiB)<<30)
	}
	if node == 0 { // without any GPU it runs on processors, or nowhere
		return
	}
	if need <= one {
		m.modelContext(it, model, one, weights)
		return
	}
	f := event.Finding{
		Severity: event.Warn, Code: event.CodeModelMemory, Item: string(it.Ref),
		What: fmt.Sprintf("model %s takes about %s of GPU memory, %s of it for its weights; the GPUs of no node have more than %s", model.Repository, bytesize.Text(need), bytesize.Text(weights), bytesize.Text(node)),
		Why:  "a server of it would end for want of memory when it starts",
		Hint: "serve it over several nodes, carry a smaller or quantised model, or add a larger node",
	}
	if need <= node {
		f.Severity = event.Notice
		f.What = fmt.Sprintf("model %s takes about %s of GPU memory, %s of it for its weights; one GPU has %s", model.Repository, bytesize.Text(need), bytesize.Text(weights), bytesize.Text(one))
		f.Why = "it runs only where it is spread over several GPUs of one node"
		f.Hint = fmt.Sprintf("have its server use %d GPUs or more (vLLM: --tensor-parallel-size), and its pod ask for as many", (need+one-1)/one)
	}
	m.addFinding(f)
}

// modelContext holds the longest request that a model takes against the memory
// that its weights leave of a GPU: its server starts with room for one such
// request, or does not start.
func (m *maker) modelContext(it *lock.Item, model *lock.HubModel, one, weights int64) {
	w := model.Weights
	if !model.IsServed() || model.Serve == lock.ServeEmbed || w.KVBytesPerToken <= 0 || w.MaxContext <= 0 {
		return
	}
	room := one - one/reserved - weights
	fits := room / w.KVBytesPerToken
	if fits >= w.MaxContext {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Notice, Code: event.CodeModelContext, Item: string(it.Ref),
		What: fmt.Sprintf("a request of %d tokens, the longest that model %s takes, needs more memory than its weights leave "+
			"of one GPU with %s: there is room for about %d tokens", w.MaxContext, model.Repository, bytesize.Text(one), fits),
		Why: "a server that makes room for the longest request ends when it starts",
		Hint: fmt.Sprintf("bound its requests (vLLM: --max-model-len %d, or less), or spread it over several GPUs",
			roundTokens(fits)),
	})
}

// reserved: servers leave a tenth of a GPU's memory to others.
const reserved = 10

// roundTokens is a number that people would choose: a multiple of 1024.
func roundTokens(n int64) int64 { return max(n/1024*1024, min(n, 1024)) }

// headroom: beside its weights a model takes a fifth of them for requests at
// least, as servers reserve a tenth of a GPU and need room for keys and values.
const headroom = 5

// shard is how the parts of one file of weights are numbered.
var shard = regexp.MustCompile(`[-.][0-9]{1,6}(-of-[0-9]{1,6})?$`)

// weightsOf is the size of what a server of the model loads, in bytes: of its
// safetensors, where there are any; else of the smallest GGUF, as one
// repository has many; else of PyTorch's files. In one folder the same weights
// may lie twice, whole and in shards. Where resolve read the headers, the lock
// says it.
func weightsOf(model *lock.HubModel) int64 {
	if n := model.Weights.WeightsBytes; n > 0 {
		return n
	}
	files := model.Files
	sets := map[string]map[string]int64{} // extension, folder and name: bytes
	for _, f := range files {
		ext := path.Ext(f.Path)
		stem := shard.ReplaceAllString(strings.TrimSuffix(f.Path, ext), "")
		if sets[ext] == nil {
			sets[ext] = map[string]int64{}
		}
		sets[ext][stem] += f.Size
	}
	if len(sets[".safetensors"]) == 0 && len(sets[".gguf"]) > 0 {
		return slices.Min(slices.Collect(maps.Values(sets[".gguf"])))
	}
	for _, ext := range []string{".safetensors", ".bin", ".pth", ".pt"} {
		if len(sets[ext]) == 0 {
			continue
		}
		folders := map[string]int64{}
		for stem, n := range sets[ext] {
			folders[path.Dir(stem)] = max(folders[path.Dir(stem)], n)
		}
		var sum int64
		for _, n := range folders {
			sum += n
		}
		return sum
	}
	return 0
}
