package kustomize

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/fetch"
)

// workerArgument makes the test program a worker.
const workerArgument = "build-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		if err := Work(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// site serves files by their path and counts what is asked of it.
type site struct {
	*httptest.Server
	files map[string][]byte
	asked map[string]int
}

func serve(t *testing.T, files map[string][]byte) *site {
	t.Helper()
	s := &site{files: files, asked: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked[r.URL.Path]++
		data, ok := s.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s
}

func builder(t *testing.T) *Builder {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	client, err := fetch.New(fetch.Options{Attempts: 1, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(client, []string{self, workerArgument})
	t.Cleanup(b.Close)
	return b
}

// tree is an archive of files, given as name and text in turn.
func tree(t *testing.T, names ...string) []byte {
	t.Helper()
	var members []member
	for i := 0; i < len(names); i += 2 {
		members = append(members, file("sources-1/"+names[i], names[i+1]))
	}
	return compress(t, pack(t, members...), 6)
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
}

// nowhere knows no place for anything.
func nowhere(string, bool) (lock.BuildSource, bool) { return lock.BuildSource{}, false }

func (s *site) recipe(folder string) Recipe {
	r := Recipe{Place: nowhere}
	r.Source = lock.BuildSource{URL: s.URL + "/a.tar.gz", Folder: folder, Archive: true}
	return r
}

func TestABuildAgainIsTheSame(t *testing.T) {
	s := serve(t, map[string][]byte{
		"/a.tar.gz": tree(t, "kustomization.yaml", "resources: [a.yaml, \"ssh://git@git.example/x.git//deploy?ref=v1\", https://files.example/c]\nnamePrefix: our-\n",
			"a.yaml", configMap("a")),
		"/b.tar.gz": tree(t, "deploy/kustomization.yaml", "configMapGenerator: [{name: b, files: [\"https://files.example/data\", \"k=https://files.example/data\"]}]\n"),
		"/c":        []byte(configMap("c")), "/data": []byte("of the file\n"),
	})
	r := s.recipe(".")
	r.Place = func(name string, onlyFile bool) (lock.BuildSource, bool) {
		if strings.HasPrefix(name, "ssh://") {
			return lock.BuildSource{URL: s.URL + "/b.tar.gz", Folder: "deploy", Archive: true}, !onlyFile
		}
		return lock.BuildSource{URL: s.URL + strings.TrimPrefix(name, "https://files.example")}, true
	}
	first, made, err := builder(t).Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: our-a\n", "name: our-b-", "name: our-c\n", "  data: |\n    of the file\n", "  k: |\n    of the file\n"} {
		if !strings.Contains(string(first), want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	if len(made.Remotes) != 3 || made.Remotes[0].Name >= made.Remotes[1].Name || made.Builder != Version {
		t.Errorf("built of %+v", made)
	}
	again := Recipe{Build: *made, Place: func(name string, _ bool) (lock.BuildSource, bool) {
		if r := made.Remote(name); r != nil {
			return *r, true
		}
		return lock.BuildSource{}, false
	}}
	for range 5 {
		second, _, err := builder(t).Build(t.Context(), again)
		if err != nil || string(second) != string(first) {
			t.Fatalf("again %v\n%s", err, second)
		}
	}
}

// TestWhatChangedIsRefused: another tar, another remote, and another digest than the
// stack's.
func TestWhatChangedIsRefused(t *testing.T) {
	archive := tree(t, "kustomization.yaml", "resources: [\"https://files.example/c.yaml\"]\n")
	s := serve(t, map[string][]byte{"/a.tar.gz": archive, "/c.yaml": []byte(configMap("c"))})
	r := s.recipe(".")
	r.Place = func(string, bool) (lock.BuildSource, bool) { return lock.BuildSource{URL: s.URL + "/c.yaml"}, true }
	for _, sum := range []digest.Digest{digest.FromBytes(archive), digest.FromBytes(pack(t, file("sources-1/kustomization.yaml", "resources: [\"https://files.example/c.yaml\"]\n")))} {
		r.Sum = sum
		if _, _, err := builder(t).Build(t.Context(), r); err != nil {
			t.Errorf("its own digest: %v", err)
		}
	}
	wrong := digest.FromString("wrong")
	for name, change := range map[string]func(r *Recipe){
		"sum":    func(r *Recipe) { r.Sum = wrong },
		"source": func(r *Recipe) { r.Source.Digest = wrong },
		"remote": func(r *Recipe) {
			r.Place = func(string, bool) (lock.BuildSource, bool) {
				return lock.BuildSource{URL: s.URL + "/c.yaml", Digest: wrong}, true
			}
		},
	} {
		changed := r
		changed.Sum = ""
		change(&changed)
		_, _, err := builder(t).Build(t.Context(), changed)
		if d, ok := errors.AsType[*DiffersError](err); !ok || d.Want != wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothingIsReached: what would reach out of a build is refused by its name, where it is
// looked for and where it is not.
func TestNothingIsReached(t *testing.T) {
	trap := serve(t, map[string][]byte{"/x.yaml": []byte(configMap("x"))})
	patch := "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: " + trap.URL + "/x.yaml\ntarget: {kind: ConfigMap}\n"
	for name, c := range map[string]struct{ text, more, want string }{
		"a file":           {"resources:\n- a.yaml\n- URL/x.yaml\n", "", `kustomization.yaml:3: resources has URL/x.yaml, outside`},
		"in capitals":      {"Resources: [HTTP://git.example/x.yaml]", "", `kustomization.yaml:1: resources has HTTP://git.example/x.yaml, outside`},
		"without slashes":  {"resources: [\"http:git.example/x.yaml\"]", "", "outside the archive"},
		"a repository":     {"bases: [github.com/acme/web]", "", "bases has github.com/acme/web, outside"},
		"by ssh":           {"components: [\"git@github.com:acme/web\"]", "", "components has git@github.com:acme/web, outside"},
		"on this disk":     {"resources: [\"file:///etc/passwd\"]", "", "outside the archive"},
		"forced":           {"resources: [\"git::https://git.example/acme/web\"]", "", "outside the archive"},
		"by an alias":      {"x: &u [URL/x.yaml]\nresources: *u", "", "outside the archive"},
		"a patch":          {"resources: [a.yaml]\npatches: [{path: URL/x.yaml}]", "", "patches has URL/x.yaml, outside"},
		"an old patch":     {"resources: [a.yaml]\npatchesStrategicMerge: [URL/x.yaml]", "", "patchesstrategicmerge has URL/x.yaml, outside"},
		"data":             {"configMapGenerator: [{name: x, envs: [URL/x.yaml]}]", "", "envs has URL/x.yaml, outside"},
		"old data":         {"secretGenerator: [{name: x, env: URL/x.yaml}]", "", "env has URL/x.yaml, outside"},
		"definitions":      {"crds: [URL/x.yaml]", "", "crds has URL/x.yaml, outside"},
		"a schema":         {"openapi: {path: URL/x.yaml}", "", "openapi has URL/x.yaml, outside"},
		"replacements":     {"replacements: [{path: URL/x.yaml}]", "", "replacements has URL/x.yaml, outside"},
		"by a transformer": {"resources: [a.yaml]\ntransformers: [more.yaml]", patch, "a build reaches nothing outside its archives"},
		"a chart":          {"helmCharts: [{name: x, repo: URL}]", "", "charts rendered by the helm program"},
		"a chart by a generator": {"generators: [more.yaml]",
			"apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\nname: x\nrepo: URL\n", "must specify --enable-helm"},
		"a function": {"transformers: [more.yaml]\nresources: [a.yaml]",
			"apiVersion: v1\nkind: X\nmetadata: {name: x, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/sh}\"}}\n", "x"},
		"a plugin":         {"generators: [more.yaml]", "apiVersion: acme.example/v1\nkind: X\nmetadata: {name: x}\n", "external plugins disabled"},
		"a folder above":   {"resources: [../../../../etc]", "", "doesn't exist"},
		"a file above":     {"configMapGenerator: [{name: x, files: [../../../etc/passwd]}]", "", "doesn't exist"},
		"an absolute file": {"configMapGenerator: [{name: x, files: [/etc/passwd]}]", "", "doesn't exist"},
		"a circle":         {"resources: [../k]", "", "cycle detected"},
		"nothing":          {"resources: []\nnamePrefix: x", "", "it comes to nothing"},
		"malformed":        {"a: [", "", "invalid Kustomization"},
	} {
		use := func(s string) string { return strings.ReplaceAll(s, "URL", trap.URL) }
		s := serve(t, map[string][]byte{"/a.tar.gz": tree(t, "k/kustomization.yaml", use(c.text), "k/a.yaml", configMap("a"), "k/more.yaml", use(c.more))})
		_, _, err := builder(t).Build(t.Context(), s.recipe("k"))
		if err == nil || !strings.Contains(err.Error(), use(c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(trap.asked) != 0 {
		t.Errorf("asked for %v", trap.asked)
	}
}

// TestEveryLostNameOfAFileIsSaid: one kustomization's names are told together.
func TestEveryLostNameOfAFileIsSaid(t *testing.T) {
	s := serve(t, map[string][]byte{"/a.tar.gz": tree(t, "kustomization.yaml", "resources:\n- https://one.example/x\n- https://two.example/y\n")})
	_, _, err := builder(t).Build(t.Context(), s.recipe("."))
	if !errors.Is(err, ErrRemote) || !strings.Contains(err.Error(), ":2: resources has https://one.example/x") || !strings.Contains(err.Error(), ":3: resources has https://two.example/y") {
		t.Errorf("%v", err)
	}
}

func TestPatches(t *testing.T) {
	s := serve(t, map[string][]byte{"/a.tar.gz": tree(t,
		"k/kustomization.yaml", "resources: [a.yaml]\nconfigMapGenerator: [{name: made, literals: [size=small]}]\n", "k/a.yaml", configMap("a"),
		"plain.yaml", configMap("plain"))})
	named := func(kind, name string) *lock.PatchTarget { return &lock.PatchTarget{Kind: kind, Name: name} }
	for name, c := range map[string]struct {
		patch lock.ManifestPatch
		want  string // of what is built, or of the error
	}{
		"of a generated one":  {lock.ManifestPatch{Patch: "- {op: replace, path: /data/size, value: large}", Target: named("ConfigMap", "made")}, "size: large"},
		"merged":              {lock.ManifestPatch{Patch: configMap("a") + "data: {x: \"1\"}\n"}, "x: \"1\""},
		"of all":              {lock.ManifestPatch{Patch: "- {op: add, path: /metadata/labels, value: {a: b}}", Target: named("ConfigMap", ".*")}, "a: b"},
		"of nothing":          {lock.ManifestPatch{Patch: "- {op: remove, path: /data}", Target: named("Secret", "made")}, "patches[0].target: there is no such object: kind: Secret, name: made"},
		"of a part of a name": {lock.ManifestPatch{Patch: "- {op: remove, path: /data}", Target: named("", "mad")}, "patches[0].target: there is no such object"},
		"merged with nothing": {lock.ManifestPatch{Patch: configMap("b")}, "no resource matches strategic merge patch"},
		"malformed":           {lock.ManifestPatch{Patch: "x", Target: named("ConfigMap", "a")}, "unable to parse"},
		"beyond a file":       {lock.ManifestPatch{Patch: "- {op: replace, path: /none/x, value: 1}", Target: named("ConfigMap", "a")}, "missing"},
	} {
		r := s.recipe("k")
		r.Patches = []lock.ManifestPatch{c.patch}
		built, _, err := builder(t).Build(t.Context(), r)
		if !strings.Contains(string(built)+fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v\n%s", name, err, built)
		}
	}
	r := s.recipe("")
	r.Files, r.Namespace = []string{"*.yaml"}, "moved"
	if built, made, err := builder(t).Build(t.Context(), r); err != nil || !strings.Contains(string(built), "namespace: moved") || made.Files[0] != "plain.yaml" {
		t.Errorf("%v, %+v\n%s", err, made, built)
	}
}

// TestBuildsAreBounded: what takes too much ends, and brings nothing else down.
func TestBuildsAreBounded(t *testing.T) {
	deep := []string{"kustomization.yaml", "resources: [d]\n"}
	at := "d"
	for range 300 {
		deep = append(deep, at+"/kustomization.yaml", "resources: [d]\n")
		at += "/d"
	}
	deep = append(deep, at+"/kustomization.yaml", "resources: [a.yaml]\n", at+"/a.yaml", configMap("deep"))
	large := configMap("large") + "data:\n  x: " + strings.Repeat("x", maxOutput) + "\n"
	s := serve(t, map[string][]byte{
		"/deep": tree(t, deep...), "/large": tree(t, "kustomization.yaml", "resources: [a.yaml]\n", "a.yaml", large),
		"/folder": tree(t, "a.yaml", configMap("a")),
	})
	for path, want := range map[string]string{"/deep": "", "/large": "larger than what is read", "/folder": "no kustomization in ."} {
		r := s.recipe(".")
		r.Source.URL = s.URL + path
		if _, _, err := builder(t).Build(t.Context(), r); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.500v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := s.recipe(".")
	if _, _, err := builder(t).Build(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestAnArchiveIsFetchedOnce: however many are built of it.
func TestAnArchiveIsFetchedOnce(t *testing.T) {
	s := serve(t, map[string][]byte{"/a.tar.gz": tree(t, "a/kustomization.yaml", "resources: [a.yaml]\n", "a/a.yaml", configMap("a"), "b.yaml", configMap("b"))})
	b := builder(t)
	for _, folder := range []string{"a", "a"} {
		if _, _, err := b.Build(t.Context(), s.recipe(folder)); err != nil {
			t.Error(err)
		}
	}
	if s.asked["/a.tar.gz"] != 1 {
		t.Errorf("asked for %v", s.asked)
	}
}

// TestWorkersThatLie: answers of a worker are held to what it may say.
func TestWorkersThatLie(t *testing.T) {
	s := serve(t, map[string][]byte{"/a.tar.gz": tree(t, "kustomization.yaml", "resources: [a.yaml]\n", "a.yaml", configMap("a"))})
	for _, says := range []string{"", "nonsense", `{}`, `{"other":1}`} {
		b := builder(t)
		b.command = []string{"/bin/sh", "-c", "printf '%s' '" + says + "'"}
		if _, _, err := b.Build(t.Context(), s.recipe(".")); !errors.Is(err, ErrWorker) {
			t.Errorf("%q: %v", says, err)
		}
	}
	b := builder(t)
	b.command = nil
	if _, _, err := b.Build(t.Context(), s.recipe(".")); !errors.Is(err, ErrWorker) {
		t.Errorf("no program: %v", err)
	}
}

// TestTheVersionIsThatOfTheModule: a lock says what built it.
func TestTheVersionIsThatOfTheModule(t *testing.T) {
	text, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`sigs.k8s.io/kustomize/api (v\S+)`).FindSubmatch(text)
	if found == nil || Version != "kustomize "+string(found[1]) {
		t.Errorf("%s, go.mod has %s", Version, found)
	}
}
