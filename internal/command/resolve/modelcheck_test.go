package resolve

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// safetensors makes a file of tensors, each a vector of 16-bit numbers, and then
// changes its header.
func safetensors(t testing.TB, elements map[string]int, change func(string) string) []byte {
	t.Helper()
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	at := 0
	for _, name := range sortedKeys(elements) {
		end := at + 2*elements[name]
		header[name] = map[string]any{"dtype": "BF16", "shape": []int{elements[name]}, "data_offsets": []int{at, end}}
		at = end
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		text = []byte(change(string(text)))
	}
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	return append(out, bytes.Repeat([]byte{0x3c, 0x3f}, at/2)...)
}

// gguf makes a GGUF file of more than 1 MiB with these texts and one tensor.
func gguf(t testing.TB, texts ...string) []byte {
	t.Helper()
	out := append([]byte("GGUF"), 3, 0, 0, 0)
	out = binary.LittleEndian.AppendUint64(out, 1)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(texts)/2))
	text := func(s string) { out = append(binary.LittleEndian.AppendUint64(out, uint64(len(s))), s...) }
	for i := 0; i < len(texts); i += 2 {
		text(texts[i])
		out = binary.LittleEndian.AppendUint32(out, 8)
		text(texts[i+1])
	}
	text("output.weight")
	out = binary.LittleEndian.AppendUint32(out, 1)
	out = binary.LittleEndian.AppendUint64(out, 1_000_000)
	return append(out, make([]byte, 12+2_000_000)...)
}

const llama = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","torch_dtype":"bfloat16","num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"hidden_size":64,"max_position_embeddings":4096}`

// wholeModel is a model in two shards, the second larger than 1 MiB, with all that
// a server of conversations asks for.
func wholeModel(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"config.json":                      []byte(llama),
		"tokenizer.json":                   []byte(`{"model":{}}`),
		"tokenizer_config.json":            []byte(`{"chat_template":"{{ messages }}"}`),
		"README.md":                        []byte("# A model\n"),
		"model.safetensors.index.json":     []byte(`{"metadata":{"total_size":1800000},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": safetensors(t, map[string]int{"a": 100_000}, nil),
		"model-00002-of-00002.safetensors": safetensors(t, map[string]int{"b": 300_000, "c": 500_000}, nil),
	}
}

func with(files map[string][]byte, name, text string) map[string][]byte {
	out := maps.Clone(files)
	out[name] = []byte(text)
	return out
}

func without(files map[string][]byte, name string) map[string][]byte {
	out := maps.Clone(files)
	delete(out, name)
	return out
}

func informed(s *site, text string) bool {
	for _, e := range s.events.Events() {
		if e.Kind == event.Info && strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

func warnedOfModels(s *site) bool {
	return slices.ContainsFunc(s.events.Events(), func(e event.Event) bool {
		return e.Kind == event.Warning && strings.HasPrefix(e.Item, "hf://")
	})
}

func TestModelIsDescribed(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	files := with(wholeModel(t), "pytorch_model.bin", "\x80\x02}q\x00.")
	s.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: with(files, "modeling.py", "import os\n"), Card: map[string]string{"license": "other", "license_name": "acme-1", "license_link": "https://acme.example/license"}})
	s.write("stack.yaml", modelStack("{name: m, source: hf://acme/whole, serve: chat}"))
	r, _ := s.mustResolve(s.options("l.yaml"))
	m := modelsOf(r.Lock)[0]
	want := lock.ModelWeights{Parameters: 900_000, WeightsBytes: 1_800_000, DType: "BF16", Architecture: "LlamaForCausalLM", MaxContext: 4096, KVBytesPerToken: 256, AttentionHeads: 4, KeyValueHeads: 2}
	if m.Weights != want || m.Serve != "chat" {
		t.Errorf("weights %+v, served for %q", m.Weights, m.Serve)
	}
	if m.License != "other" || m.LicenseName() != "acme-1" || m.Terms == nil || m.Terms.Link != "https://acme.example/license" || m.Terms.Gated != "" {
		t.Errorf("licence %q, %+v", m.License, m.Terms)
	}
	if len(m.LeftOut) != 2 || m.LeftOut[0].Files[0] != "modeling.py" || m.LeftOut[1].Files[0] != "pytorch_model.bin" || m.LeftOut[1].Bytes != 6 {
		t.Errorf("left out %+v", m.LeftOut)
	}
	if !informed(s, "left out 1 file, 6 B, because they can run code when they are loaded") {
		t.Error("nobody was told what is left out")
	}
	large, _ := m.File("model-00002-of-00002.safetensors")
	if large.Head == nil || large.Head.SHA256 != digest.FromBytes(files[large.Path][:large.Head.Size]) || large.Head.Size > 1000 {
		t.Errorf("head %+v", large.Head)
	}
	for path, count := range s.Stats().Paths {
		if strings.HasPrefix(path, "/cdn/") && count.Bytes > 900_000 {
			t.Errorf("%d bytes of %s were read", count.Bytes, path)
		}
	}
}

// TestModelIsChecked holds models against what goes wrong with published ones.
func TestModelIsChecked(t *testing.T) {
	good := wholeModel(t)
	const second = "model-00002-of-00002.safetensors"
	index := string(good["model.safetensors.index.json"])
	tensors := map[string]int{"b": 300_000, "c": 500_000}
	changed := func(old, new string) map[string][]byte {
		return with(good, second, string(safetensors(t, tensors, func(s string) string { return strings.Replace(s, old, new, 1) })))
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		more  string // fields of the model
		is    error
		want  string // in the error, or in a warning
	}{
		"right":             {good, "serve: chat", nil, ""},
		"shard is missing":  {without(good, second), "", ErrWeights, "not carried: " + second},
		"shard is excluded": {good, `exclude: ["*-00002-*"]`, ErrWeights, "not carried: " + second},
		"index alone":       {good, `include: ["*.json"]`, nil, "names shards of which none is carried"},
		"tensor is missing": {with(good, "model.safetensors.index.json", strings.Replace(index, `"c"`, `"mtp.fc.weight"`, 1)), "", ErrWeights, "mtp.fc.weight in " + second},
		"allowed all the same": {with(good, "model.safetensors.index.json", strings.Replace(index, `"c"`, `"mtp.fc.weight"`, 1)),
			"allow: [{file: model.safetensors.index.json, reason: the server does not load the tensor}]", nil, "the server does not load the tensor"},
		"total is wrong":         {with(good, "model.safetensors.index.json", strings.Replace(index, "1800000", "1800400", 1)), "", nil, "says total_size 1800400"},
		"no total":               {with(good, "model.safetensors.index.json", strings.Replace(index, "total_size", "n", 1)), "", nil, ""},
		"cut off":                {with(good, second, string(good[second][:1_500_000])), "", ErrWeights, "follow the header"},
		"bytes after":            {with(good, second, string(good[second])+"x"), "", ErrWeights, "follow the header"},
		"a gap":                  {changed("[0,600000]", "[8,600000]"), "", ErrWeights, second},
		"shape and bytes differ": {changed("300000", "300001"), "", ErrWeights, "300001 numbers of type BF16"},
		"another format":         {with(good, second, "PK\x03\x04"+strings.Repeat("x", 2<<20)), "", ErrWeights, second + ": the file is not what it says"},
		"a web page":             {with(good, "model-00001-of-00002.safetensors", "<html>"+strings.Repeat(" ", 1000)), "", ErrWeights, "model-00001-of-00002.safetensors"},
		"index is no JSON":       {with(good, "model.safetensors.index.json", "<html>"), "", ErrWeights, "model.safetensors.index.json"},
		"idle shard":             {with(good, "model-00003-of-00003.safetensors", string(safetensors(t, map[string]int{"z": 9}, nil))), "", nil, "no loader reads: model-00003"},

		"pickle in disguise":        {with(good, "notes.md", "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00"), "", ErrCode, "notes.md (a pickle"},
		"large pickle in disguise":  {with(good, "embeddings.dat", "\x80\x02}q\x00"+strings.Repeat("x", 2<<20)), "", ErrCode, "embeddings.dat (a pickle"},
		"plain pickle in disguise":  {with(good, "words.txt", "\x80\x02}q\x00"+strings.Repeat("x", 2<<20)), "", ErrCode, "words.txt (a pickle"},
		"torch archive in disguise": {with(good, "weights.dat", "PK\x03\x04\x00\x00\x08\x08archive/data.pkl"), "", ErrCode, "weights.dat (an archive"},
		"disguised and allowed":     {with(good, "notes.md", "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00"), "allow: [{file: notes.md, reason: read by our tool}]", nil, "carrying notes.md, a pickle"},
		"array of numbers":          {with(good, "mean.npy", "\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }           \n"), "", nil, ""},
		"array of objects":          {with(good, "mean.npy", "\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,), }            \n"), "", ErrCode, "mean.npy (a pickle"},
		"allowed for nothing":       {good, "allow: [{file: README.md, reason: x}]", nil, "allow of README.md is not needed"},

		"code is missing":     {with(good, "config.json", strings.Replace(llama, "{", `{"auto_map":{"AutoModel":"modeling_x.X"},`, 1)), "serve: completion", ErrImports, "modeling_x.py"},
		"code of others":      {with(good, "config.json", strings.Replace(llama, "{", `{"auto_map":{"AutoModel":"acme/other--modeling_x.X"},`, 1)), "serve: completion", ErrImports, "acme/other--modeling_x.py"},
		"nobody serves it":    {with(good, "config.json", strings.Replace(llama, "{", `{"auto_map":{"AutoModel":"modeling_x.X"},`, 1)), "", nil, "modeling_x.py"},
		"code is not needed":  {with(good, "config.json", strings.Replace(llama, "{", `{"auto_map":{"AutoModel":"modeling_x.X"},`, 1)), "serve: chat, allow: [{file: config.json, reason: the server has it built in}]", nil, "the server has it built in"},
		"code is carried":     {with(with(good, "config.json", strings.Replace(llama, "{", `{"auto_map":{"AutoModel":"modeling_x.X"},`, 1)), "modeling_x.py", "class X: pass\n"), "serve: chat, allow: [{file: modeling_x.py, reason: reviewed}]", nil, "carrying modeling_x.py, Python"},
		"code of a tokenizer": {with(good, "tokenizer_config.json", `{"chat_template":"x","auto_map":{"AutoTokenizer":["tok.Slow",null]}}`), "serve: chat", ErrImports, "tokenizer_config.json names code (auto_map) that is not carried: tok.py"},
		"no tokenizer":        {without(good, "tokenizer.json"), "serve: embed", ErrServe, "embed: a tokenizer"},
		"nobody asks it":      {without(good, "tokenizer.json"), "serve: none", nil, ""},
		"its code neither":    {with(good, "config.json", strings.Replace(llama, "{", `{"auto_map":{"AutoModel":"modeling_x.X"},`, 1)), "serve: none", nil, "modeling_x.py"},
		"old tokenizer":       {with(with(without(good, "tokenizer.json"), "vocab.json", "{}"), "merges.txt", "#version: 0.2\n"), "serve: chat", nil, ""},
		"no template":         {with(good, "tokenizer_config.json", `{"chat_template":""}`), "serve: chat", ErrServe, "a chat template"},
		"completes only":      {with(good, "tokenizer_config.json", `{}`), "serve: completion", nil, ""},
		"templates by name":   {with(good, "tokenizer_config.json", `{"chat_template":[{"name":"default","template":"x"}]}`), "serve: chat", nil, ""},
		"template of its own": {with(without(good, "tokenizer_config.json"), "chat_template.jinja", "{{ messages }}"), "serve: chat", nil, ""},
		"no configuration":    {without(good, "config.json"), "serve: completion", ErrServe, "config.json"},
		"no weights":          {good, `serve: completion, include: ["*.json"]`, ErrServe, "no weights"},
		"GGUF alone":          {map[string][]byte{"m.Q4_K_M.gguf": gguf(t, "tokenizer.ggml.model", "gpt2", "tokenizer.chat_template", "{{ messages }}")}, "serve: chat", nil, ""},
		"GGUF that completes": {map[string][]byte{"m.Q4_K_M.gguf": gguf(t, "tokenizer.ggml.model", "gpt2", "general.license", strings.Repeat("words ", 500_000))}, "serve: chat", ErrServe, "a chat template in its GGUF file"},
		"GGUF alone, bare":    {map[string][]byte{"m.Q4_K_M.gguf": gguf(t)}, "serve: completion", ErrServe, "a tokenizer in its GGUF file"},
		"GGUF by name alone":  {map[string][]byte{"m.gguf": bytes.Repeat([]byte("\x80\x02}q"), 500_000)}, "", ErrWeights, "m.gguf"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, upstreamtest.Options{})
			s.AddModel(upstreamtest.Model{ID: "acme/Checked", Files: c.files})
			s.write("stack.yaml", modelStack(strings.TrimSuffix("{name: m, source: hf://acme/checked, "+c.more, ", ")+"}"))
			_, err := s.resolve(s.options("l.yaml"))
			switch {
			case c.is == nil && err != nil, c.is != nil && !errors.Is(err, c.is):
				t.Fatalf("%v, want %v", err, c.is)
			case c.is != nil && !strings.Contains(err.Error(), c.want):
				t.Errorf("%v, want %q", err, c.want)
			case c.is == nil && c.want != "" && !warned(s, c.want):
				t.Errorf("nobody warned: %q; events %+v", c.want, s.events.Events())
			case c.is == nil && c.want == "" && warnedOfModels(s):
				t.Errorf("a warning: %+v", s.events.Events())
			}
		})
	}
}

// TestMirrorShowsOtherBytesInParts is a mirror that answers who asks for a part of a
// file with other bytes than who asks for all of it.
func TestMirrorShowsOtherBytesInParts(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	pickle := "\x80\x02}q\x00" + strings.Repeat("x", 2<<20)
	s.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: with(wholeModel(t), "words.txt", pickle)})
	s.write("stack.yaml", modelStack("{name: m, source: hf://acme/whole}"))
	armed := s.Fault(upstreamtest.Fault{Kind: upstreamtest.OtherRange, Match: regexp.MustCompile("/words.txt$")})
	_, err := s.resolve(s.options("l.yaml"))
	if !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), "file words.txt") {
		t.Errorf("%v", err)
	}
	if armed.Hits() == 0 {
		t.Error("nobody asked for a part")
	}
}

func TestGatedModel(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.AddModel(upstreamtest.Model{ID: "acme/Closed", Files: wholeModel(t), Gated: "manual"})
	s.write("stack.yaml", modelStack("{name: m, source: hf://acme/closed}"))
	opt := s.options("l.yaml")
	_, err := s.resolve(opt)
	if !errors.Is(err, hub.ErrGated) || !strings.Contains(err.Error(), "no token was given: https://huggingface.co/acme/Closed") {
		t.Errorf("without a token: %v", err)
	}
	opt.HubToken = "hf_somebody_else"
	if _, err = s.resolve(opt); !errors.Is(err, hub.ErrGated) {
		t.Errorf("with a token of somebody who was not let in: %v", err)
	}
	opt.HubToken = upstreamtest.GatedToken
	r, text := s.mustResolve(opt)
	if m := modelsOf(r.Lock)[0]; m.Terms == nil || m.Terms.Gated != "manual" {
		t.Errorf("terms %+v", m.Terms)
	}
	if bytes.Contains(text, []byte(upstreamtest.GatedToken)) {
		t.Error("the token is in the lock")
	}
}

// TestMirrorOfAGatedModel is a mirror of the site's own that repeats what the hub says of
// the gate, and asks nobody for a token.
func TestMirrorOfAGatedModel(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.AddModel(upstreamtest.Model{ID: "acme/Closed", Files: wholeModel(t), Gated: "auto", Open: true})
	s.write("stack.yaml", modelStack("{name: m, source: hf://acme/closed}"))
	r, _ := s.mustResolve(s.options("l.yaml"))
	if m := modelsOf(r.Lock)[0]; m.Terms == nil || m.Terms.Gated != "auto" {
		t.Errorf("terms %+v", m.Terms)
	}
	if !informed(s, "acme/Closed is gated: its owner lets in whoever accepts its terms; no token was given") {
		t.Error("nobody was told of the gate")
	}
}

func TestExtrasLieAmongTheModelsFiles(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	encoding := bytes.Repeat([]byte("IQ== 0\n"), 200_000)
	s.AddFile("/o200k_base.tiktoken", encoding)
	s.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: wholeModel(t)})
	draft := s.AddModel(upstreamtest.Model{ID: "acme/Draft", Gated: "manual", Open: true, Card: map[string]string{"license": "other", "license_name": "draft-1"}, Files: map[string][]byte{"config.json": []byte(llama), "model.safetensors": safetensors(t, map[string]int{"d": 700_000}, nil), "run.py": []byte("x")}})
	sum := digest.FromBytes(encoding).Encoded()
	extras := func(sum string) string {
		return modelStack("{name: m, source: hf://acme/whole, extras: [{path: tiktoken/o200k_base.tiktoken, url: \"https://dl.acme.example/o200k_base.tiktoken\", sha256: " + sum + "}, {path: draft, source: hf://acme/draft}]}")
	}
	s.write("stack.yaml", extras(sum))
	r, _ := s.mustResolve(s.options("l.yaml"))
	m := modelsOf(r.Lock)[0]
	file, ok := m.File("tiktoken/o200k_base.tiktoken")
	if !ok || file.URL != "https://dl.acme.example/o200k_base.tiktoken" || file.SHA256.Encoded() != sum || file.Size != int64(len(encoding)) || !file.LFS {
		t.Errorf("file %+v", file)
	}
	config, ok := m.File("draft/config.json")
	if !ok || config.URL != "https://huggingface.co/acme/Draft/resolve/"+draft+"/config.json" || config.SHA256 != digest.FromString(llama) {
		t.Errorf("file %+v", config)
	}
	if _, ok := m.File("draft/run.py"); ok || m.Weights.WeightsBytes != 1_800_000+1_400_000 {
		t.Errorf("%s; weights %+v", paths(m), m.Weights)
	}
	want := []lock.ModelExtra{{Path: "draft", Repository: "acme/Draft", Revision: "main", Commit: draft, License: "other", Terms: &lock.ModelTerms{Name: "draft-1", Gated: "manual"}}}
	if !reflect.DeepEqual(m.Extras, want) || m.Name != "m" {
		t.Errorf("%s: extras %+v", m.Name, m.Extras)
	}
	at := slices.IndexFunc(r.Lock.Items, func(it lock.Item) bool { return it.Kind == lock.Model })
	d := r.Lock.Items[at].Describe(r.Lock.Items[at].Digest)
	if d.License() != "apache-2.0 AND draft-1" || !slices.Equal(d.Licenses, []string{"apache-2.0", "draft-1", ""}) || !slices.Contains(d.Notes, "draft: gated: its owner lets people in (manual)") ||
		!slices.Contains(d.Notes, "draft: hf://acme/Draft at "+draft+", licence draft-1") {
		t.Errorf("%s; %q", d.License(), d.Notes)
	}
	for _, f := range d.Files {
		license := "apache-2.0"
		switch {
		case strings.HasPrefix(f.Name, "draft/"):
			license = "draft-1"
		case strings.HasPrefix(f.Name, "tiktoken/"): // of another host, where nobody declares one
			license = ""
		}
		if f.License != license {
			t.Errorf("%s: licence %q, want %q", f.Name, f.License, license)
		}
	}
	s.write("stack.yaml", extras(strings.Repeat("0", 64)))
	if _, err := s.resolve(s.options("l.yaml")); err == nil || !strings.Contains(err.Error(), "extra tiktoken/o200k_base.tiktoken") {
		t.Errorf("another digest: %v", err)
	}
}

// TestModelsThatRegistriesHave: a model that an object names as an image is carried with
// the images; one that the stack carries from the hub is there already.
func TestModelsThatRegistriesHave(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	commit := s.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: wholeModel(t)})
	s.write("models.yaml", "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: car}\n"+
		"spec: {predictor: {model: {storageUri: \"oci://quay.io/acme/tool:1\"}}}\n---\n"+
		"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: whole}\n"+
		"spec: {predictor: {model: {storageUri: \"oci+native://huggingface.co/acme/whole:"+commit+"\"}}}\n")
	s.write("stack.yaml", modelStack("{name: m, source: hf://acme/whole}")+"    manifests: [models.yaml]\n")
	r, _ := s.mustResolve(s.options("l.yaml"))
	for kind, want := range map[lock.Kind]string{lock.Image: "quay.io/acme/tool:1", lock.Model: "huggingface.co/acme/whole:" + commit} {
		var refs []string
		for _, it := range r.Lock.Items {
			if it.Kind == kind {
				refs = append(refs, string(it.Ref))
			}
		}
		if !slices.Equal(refs, []string{want}) {
			t.Errorf("%s: %q", kind, refs)
		}
	}
}

// TestHubImagesThatPodsPull: what a pod pulls from the hub's host is an image that has to
// be found, unless it is a model of the stack.
func TestHubImagesThatPodsPull(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	commit := s.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: wholeModel(t)})
	carried := "huggingface.co/acme/whole:" + commit
	for image, found := range map[string]bool{
		carried: true, "huggingface.co/acme/model:latest": false, "huggingface.co/acme/whole@sha256:" + strings.Repeat("0", 64): false,
	} {
		for form, spec := range map[string]string{
			"container": "containers: [{name: a, image: \"" + image + "\"}]",
			"volume":    "volumes: [{name: m, image: {reference: \"" + image + "\"}}]",
		} {
			s.write("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {"+spec+"}\n")
			s.write("stack.yaml", modelStack("{name: m, source: hf://acme/whole}")+"    manifests: [pod.yaml]\n")
			r, err := s.resolve(s.options("l.yaml"))
			if (err == nil) != found || !found && !strings.Contains(err.Error(), image) {
				t.Errorf("%s %s: %v", form, image, err)
			}
			if found && r.Counts[lock.Image] != 0 {
				t.Errorf("%s %s: carried twice", form, image)
			}
		}
	}
}

func TestHeaderReadAgainAfterFaults(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: wholeModel(t)})
	s.write("stack.yaml", modelStack("{name: m, source: hf://acme/whole}"))
	for _, f := range []upstreamtest.Fault{
		{Kind: upstreamtest.Status, Status: 503, Times: 1},
		{Kind: upstreamtest.Drop, After: 20, Times: 1},
	} {
		f.Match = regexp.MustCompile("^/cdn/")
		armed := s.Fault(f)
		if _, err := s.resolve(s.options("l.yaml")); err != nil || armed.Hits() == 0 {
			t.Errorf("%s: %v, %d hits", f.Kind, err, armed.Hits())
		}
		s.ClearFaults()
	}
}
