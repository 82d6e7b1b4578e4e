package resolve

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func modelStack(models ...string) string {
	return "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: t, version: 1.0.0}\nplatforms: [linux/arm64, linux/amd64]\ncomponents:\n" +
		"  - name: c\n    models:\n      - " + strings.Join(models, "\n      - ") + "\n"
}

func paths(m *lock.HubModel) string {
	var out []string
	for _, f := range m.Files {
		out = append(out, f.Path)
	}
	return strings.Join(out, " ")
}

func modelsOf(l *lock.Lock) []*lock.HubModel {
	var out []*lock.HubModel
	for _, it := range l.Items {
		if m, ok := lock.As[*lock.HubModel](&it); ok {
			out = append(out, m)
		}
	}
	return out
}

func TestModelDefaultFiles(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.write("stack.yaml", modelStack("{name: tiny, source: hf://acme/tiny-llm}"))
	r, _ := s.mustResolve(s.options("l.yaml"))
	m := modelsOf(r.Lock)[0]
	want := ".gitattributes README.md config.json generation_config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors " +
		"model.safetensors.index.json special_tokens_map.json tokenizer.json tokenizer_config.json"
	if paths(m) != want {
		t.Errorf("carries %s", paths(m))
	}
	if m.Commit != s.ModelCommit() || m.Revision != "main" || m.Platform != "linux/amd64" {
		t.Errorf("model %+v", m)
	}
	if m.Layers[0].Digest == "" || m.Layers[1].Digest != "" || m.Layers[2].Digest != "" {
		t.Errorf("layers %+v", m.Layers)
	}
	stats := s.Stats()
	for path, count := range stats.Paths {
		if strings.HasPrefix(path, "/cdn/") && (count.Ranged != count.Gets || count.Bytes > firstPart) {
			t.Errorf("%s was downloaded: %+v", path, count)
		}
	}
}

// TestModelSmallLayer downloads the small files itself and packs them.
func TestModelSmallLayer(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.write("stack.yaml", modelStack(`{name: tiny, source: hf://acme/tiny-llm, include: ["*.json", pytorch_model.bin], allow: [{file: pytorch_model.bin, reason: only an old server reads it}]}`))
	r, _ := s.mustResolve(s.options("l.yaml"))
	m := modelsOf(r.Lock)[0]
	if len(m.Layers) != 1 || r.Lock.Items[0].Digest == "" {
		t.Fatalf("layers %+v", m.Layers)
	}
	var buf bytes.Buffer
	for _, f := range m.Files {
		resp, err := http.Get("http://" + s.Addresses().Hub + "/" + m.Repository + "/resolve/" + m.Commit + "/" + f.Path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || digest.FromBytes(data) != f.SHA256 || int64(len(data)) != f.Size {
			t.Errorf("%s: %d bytes, %v", f.Path, len(data), err)
		}
		header, err := lock.TarHeader(f.Path, f.Size)
		if err != nil {
			t.Fatal(err)
		}
		buf.Write(header)
		buf.Write(data)
		buf.Write(make([]byte, -len(data)&511))
	}
	buf.Write(make([]byte, 1024))
	if digest.FromBytes(buf.Bytes()) != m.Layers[0].Digest {
		t.Error("the layer's digest is not that of its tar")
	}
	tr := tar.NewReader(&buf)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil || !strings.HasPrefix(h.Name, "models/") {
			t.Fatalf("%v, %v", h, err)
		}
	}
	if !warned(s, "carrying pytorch_model.bin") {
		t.Error("nobody warned of the pickle")
	}
	if len(m.Allow) != 1 || m.Allow[0] != (lock.ModelAllow{File: "pytorch_model.bin", Reason: "only an old server reads it"}) {
		t.Errorf("the lock says that %+v are allowed", m.Allow)
	}
}

func TestModelsOfOneCommitBecomeOneItem(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	s.write("stack.yaml", modelStack(`{name: a, source: hf://acme/tiny-llm, revision: v1.0, include: ["config.json"]}`)+
		"  - name: d\n    models:\n      - {name: b, source: hf://ACME/Tiny-LLM, include: [\"tokenizer*.json\"], exclude: [tokenizer.json]}\n")
	r, _ := s.mustResolve(s.options("l.yaml"))
	if len(r.Lock.Items) != 1 {
		t.Fatalf("items %+v", r.Lock.Items)
	}
	it := r.Lock.Items[0]
	model, _ := lock.As[*lock.HubModel](&it)
	if paths(model) != "config.json tokenizer_config.json" || model.Revision != "v1.0" || strings.Join(it.Components, " ") != "c d" {
		t.Errorf("item %+v %+v", it, model)
	}
	if string(it.Ref) != "huggingface.co/acme/tiny-llm:"+s.ModelCommit() || it.Source != "hf://acme/Tiny-LLM@"+s.ModelCommit() {
		t.Errorf("called %s from %s", it.Ref, it.Source)
	}
}

func TestModelRefusals(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	for name, test := range map[string]struct {
		model string
		is    error
		want  string
	}{
		"pickle by pattern": {`{name: a, source: hf://acme/tiny-llm, include: ["*"]}`, ErrCode, "pytorch_model.bin (a pickle"},
		"pickle by name":    {`{name: a, source: hf://acme/tiny-llm, include: [pytorch_model.bin]}`, ErrCode, "pytorch_model.bin (a pickle"},
		"nothing to allow":  {`{name: a, source: hf://acme/tiny-llm, allow: [{file: gone.bin, reason: x}]}`, ErrNoMatch, `"gone.bin"`},
		"nothing matches":   {`{name: a, source: hf://acme/tiny-llm, include: ["*.json", "*.nothing"]}`, ErrNoMatch, `"*.nothing"`},
		"nothing left":      {`{name: a, source: hf://acme/tiny-llm, include: ["*.json"], exclude: ["*"]}`, ErrNoMatch, "leave"},
		"gated":             {`{name: a, source: hf://acme/gated-llm}`, hub.ErrGated, "GatedRepo"},
		"gone":              {`{name: a, source: hf://acme/gone}`, hub.ErrNotFound, "acme/gone"},
	} {
		s.write("stack.yaml", modelStack(test.model))
		_, err := s.resolve(s.options("l.yaml"))
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "stack.yaml:8: component c: model a: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestModelFromALyingHub(t *testing.T) {
	for _, f := range []upstreamtest.Fault{
		{Kind: upstreamtest.Corrupt, After: 3, Match: regexp.MustCompile("/resolve/.*/config.json$")},
		{Kind: upstreamtest.Truncate, After: 3, Match: regexp.MustCompile("/resolve/.*/config.json$")},
		{Kind: upstreamtest.WrongSize, Add: 1, Match: regexp.MustCompile("/resolve/.*/config.json$")},
		{Kind: upstreamtest.Corrupt, After: 3, Match: regexp.MustCompile("^/cdn/")},
	} {
		s := newSite(t, upstreamtest.Options{})
		armed := s.Fault(f)
		s.write("stack.yaml", modelStack(`{name: tiny, source: hf://acme/tiny-llm, include: ["config.json", pytorch_model.bin], allow: [{file: pytorch_model.bin, reason: x}]}`))
		if _, err := s.resolve(s.options("l.yaml")); err == nil || armed.Hits() == 0 {
			t.Errorf("%s: resolved, %d hits", f.Kind, armed.Hits())
		}
		s.ClearFaults()
		f.Times = 1
		armed = s.Fault(f)
		if f.Kind == upstreamtest.WrongSize {
			continue
		}
		if _, err := s.resolve(s.options("l.yaml")); err != nil || armed.Hits() == 0 {
			t.Errorf("%s once: %v", f.Kind, err)
		}
	}
}

func TestChooseFiles(t *testing.T) {
	repo := func(names string) []hub.File {
		var out []hub.File
		for _, n := range strings.Fields(names) {
			out = append(out, hub.File{Path: n})
		}
		return out
	}
	tests := []struct {
		files, include, exclude, allow, want string
		err                                  error
	}{
		{"a.safetensors b.bin c.json original/x.safetensors onnx/m.onnx m.gguf", "", "", "", "a.safetensors c.json", nil},
		{"m.gguf README.md", "", "", "", "m.gguf README.md", nil},
		{"m.gguf pytorch_model.bin", "", "", "", "m.gguf", nil},
		{"m-Q4_K_M.gguf m-Q8_0.gguf", "", "", "", "", ErrManyGGUF},
		{"m-Q4_K_M.gguf m-Q8_0.gguf README.md", "*Q4_K_M*", "", "", "m-Q4_K_M.gguf", nil},
		{"m-Q4_K_M.gguf m-Q8_0.gguf README.md", "", "*Q8*", "", "m-Q4_K_M.gguf README.md", nil},
		{"m-00001-of-00002.gguf m-00002-of-00002.gguf mmproj-f16.gguf", "", "", "", "m-00001-of-00002.gguf m-00002-of-00002.gguf mmproj-f16.gguf", nil},
		{"consolidated.safetensors params.json", "", "", "", "consolidated.safetensors params.json", nil},
		{"consolidated.safetensors model.safetensors", "", "", "", "model.safetensors", nil},
		{"model.safetensors checkpoint-5/model.safetensors checkpoint-5/optimizer.pt runs/x", "", "", "", "model.safetensors", nil},
		{"checkpoint-5/model.safetensors config.json", "", "", "", "checkpoint-5/model.safetensors config.json", nil},
		{"pytorch_model.bin config.json", "", "", "", "", ErrCode},
		{"model.keras config.json", "", "", "", "", ErrCode},
		{"model.zip config.json", "", "", "", "", ErrCode},
		{"pytorch_model.bin config.json", "", "*.bin", "", "config.json", nil},
		{"pytorch_model.bin config.json", "pytorch_model.bin config.json", "", "", "", ErrCode},
		{"pytorch_model.bin config.json", "", "", "pytorch_model.bin", "pytorch_model.bin config.json", nil},
		{"pytorch_model.bin config.json", "*.json", "", "pytorch_model.bin", "pytorch_model.bin config.json", nil},
		{"pytorch_model.bin config.json", "", "*.bin", "pytorch_model.bin", "config.json", nil},
		{"a/pytorch_model.bin config.json", "a/", "", "", "", ErrCode},
		{"model.safetensors modeling_x.py run.sh", "", "", "", "model.safetensors", nil},
		{"model.safetensors modeling_x.py run.sh", "", "", "modeling_x.py", "model.safetensors modeling_x.py", nil},
		{"model.safetensors modeling_x.py", "*", "", "", "", ErrCode},
		{"a/x.json a/y/z.json b.json", "a/", "", "", "a/x.json a/y/z.json", nil},
		{"a.safetensors m.gguf", "*.gguf", "", "", "m.gguf", nil},
		{"a.safetensors", "", "*", "", "", ErrNoMatch},
		{"a.safetensors", "", "", "b.bin", "", ErrNoMatch},
		{"", "", "", "", "", ErrNoMatch},
	}
	for _, test := range tests {
		m := &stack.Model{Include: strings.Fields(test.include), Exclude: strings.Fields(test.exclude)}
		for _, file := range strings.Fields(test.allow) {
			m.Allow = append(m.Allow, stack.ModelAllow{File: file, Reason: "x"})
		}
		got, err := chooseFiles(repo(test.files), m)
		if !errors.Is(err, test.err) {
			t.Errorf("%s with %q without %q: %v", test.files, test.include, test.exclude, err)
		}
		if err != nil {
			continue
		}
		var names []string
		for _, f := range got.files {
			names = append(names, f.Path)
		}
		if strings.Join(names, " ") != test.want {
			t.Errorf("%s with %q without %q: %q", test.files, test.include, test.exclude, names)
		}
		if len(got.files)+len(got.leftOut) != len(strings.Fields(test.files)) {
			t.Errorf("%s: %d files carried, %d left out", test.files, len(got.files), len(got.leftOut))
		}
	}
}

func TestFnmatch(t *testing.T) {
	yes := []string{"*.json a/b.json", "* x", "a?c aüc", "[ab]x bx", "[!ab]x cx", "[a-c]x bx", "a*b*c aXbYbZc", "[x [x", "[]]x ]x", "a/ a/b/c", "ü* üx", "** x", "*a*a*a aaa"}
	no := []string{"*.json a.jsonx", "? ab", "[ab]x cx", "[!ab]x ax", "a a/b", "*.JSON a.json", "a/ a", "[a-c]x dx", "*a*a*a*a aaa"}
	for _, s := range yes {
		if f := strings.Fields(s); !matchFile(f[0], f[1]) {
			t.Errorf("%s does not match %s", f[0], f[1])
		}
	}
	for _, s := range no {
		if f := strings.Fields(s); matchFile(f[0], f[1]) {
			t.Errorf("%s matches %s", f[0], f[1])
		}
	}
}

func FuzzFnmatch(f *testing.F) {
	f.Add("*[a-]?*", "xa-")
	f.Add("[", "\xff")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := matchName(pattern, name)
		if isLiteral(pattern) && !strings.HasSuffix(pattern, "/") && utf8.ValidString(pattern) && utf8.ValidString(name) && got != (pattern == name) {
			t.Errorf("%q and %q: %v", pattern, name, got)
		}
		if !matchName("*", name) || matchName(pattern, name) && !matchName("*"+pattern, name) {
			t.Errorf("%q and %q: a star does not match", pattern, name)
		}
	})
}

// isLiteral says whether a pattern is a plain name.
func isLiteral(pattern string) bool { return !strings.ContainsAny(pattern, "*?[") }
