package lock

import (
	"reflect"
	"strings"
	"testing"
)

// built is a lock with one manifest that is built.
func built() *Lock {
	l := sample()
	for i := range l.Items {
		if f, ok := As[*RawFile](&l.Items[i]); ok && l.Items[i].Kind == Manifest {
			l.Items[i].Source = "https://github.com/acme/flows/archive/v1.tar.gz#deploy"
			l.Items[i].Content = &RawFile{Name: f.Name, Digest: f.Digest, Size: f.Size, MediaType: f.MediaType, Build: &Build{
				Builder: "kustomize v1",
				Source:  BuildSource{URL: "https://github.com/acme/flows/archive/v1.tar.gz", Digest: dg("tar"), Size: 10240, Folder: "deploy", Archive: true, Commit: strings.Repeat("a", 40)},
				Remotes: []BuildSource{
					{Name: "https://b.example/b.yaml", URL: "https://b.example/b.yaml", Digest: dg("b"), Size: 2},
					{Name: "github.com/acme/a//.?ref=v1", URL: "https://github.com/acme/a/archive/v1.tar.gz", Digest: dg("a"), Size: 10240, Folder: ".", Archive: true},
				},
				Namespace: "flows",
				Patches:   []ManifestPatch{{Patch: "- {op: remove, path: /x}\n", Target: &PatchTarget{Kind: "Deployment", Name: "a.*"}}},
			}}
		}
	}
	return l
}

func builtOf(t *testing.T, l *Lock) (*Item, *RawFile) {
	t.Helper()
	for i := range l.Items {
		if f, ok := As[*RawFile](&l.Items[i]); ok && f.Build != nil {
			return &l.Items[i], f
		}
	}
	t.Fatal("no manifest is built")
	return nil, nil
}

// TestABuiltManifestIsRead: what is written is read as it was, remotes sorted, and gives
// one slot.
func TestABuiltManifestIsRead(t *testing.T) {
	l := built()
	text, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, f := builtOf(t, l); f.Build.Remotes[0].URL != "https://b.example/b.yaml" {
		t.Error("writing changed the lock")
	}
	read, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	it, f := builtOf(t, read)
	_, was := builtOf(t, l)
	was.Build.normalize()
	if !reflect.DeepEqual(f, was) {
		t.Errorf("%+v became %+v", was.Build, f.Build)
	}
	slots := f.slots(it)
	if len(slots) != 1 || slots[0].Digest != f.Digest || slots[0].Sources[0].Kind != FromBuild || slots[0].Sources[0].Build != f.Build {
		t.Errorf("slots %+v", slots)
	}
	if f.Build.Origin() != it.Source || f.Build.Remote("https://b.example/b.yaml").Digest != dg("b") || f.Build.Remote("x") != nil {
		t.Errorf("of %s", f.Build.Origin())
	}
}

func TestMistakesOfABuild(t *testing.T) {
	for want, change := range map[string]func(f *RawFile){
		"needs one of url, path, shipped and build, and has 2": func(f *RawFile) { f.URL = "https://x.example/x" },
		"build.builder: is missing":                            func(f *RawFile) { f.Build.Builder = "" },
		"source.url":                                           func(f *RawFile) { f.Build.Source.URL = "file:///etc/passwd" },
		"source.digest":                                        func(f *RawFile) { f.Build.Source.Digest = "sha256:x" },
		"source.size":                                          func(f *RawFile) { f.Build.Source.Size = -1 },
		"source.folder":                                        func(f *RawFile) { f.Build.Source.Folder = "../x" },
		"source.commit":                                        func(f *RawFile) { f.Build.Source.Commit = "x" },
		"remotes[0].name: is missing":                          func(f *RawFile) { f.Build.Remotes[0].Name = "" },
		"is out of order or repeated":                          func(f *RawFile) { f.Build.Remotes[0].Name = f.Build.Remotes[1].Name },
		"remotes[1].url":                                       func(f *RawFile) { f.Build.Remotes[0].URL = "https://me:secret@b.example/b" },
		"goes with an archive, and with no folder":             func(f *RawFile) { f.Build.Files = []string{"a.yaml"} },
		"files[0]":                                             func(f *RawFile) { f.Build.Files = []string{"../a.yaml"} },
		"namespace":                                            func(f *RawFile) { f.Build.Namespace = "A B" },
		"patches[0].patch: has 0 bytes":                        func(f *RawFile) { f.Build.Patches[0].Patch = "" },
	} {
		l := built()
		_, f := builtOf(t, l)
		change(f)
		if _, err := l.Marshal(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWhatTheStackCallsAManifest(t *testing.T) {
	for want, f := range map[string]RawFile{
		"a/b.yaml": {Name: "b.yaml", Path: "a/b.yaml"}, "stacks/x.yaml": {Name: "x.yaml", Shipped: "x.yaml"},
		"web.yaml": {Name: "web.yaml", URL: "https://x.example/install.yaml"}, "flows.yaml": {Name: "flows.yaml", Build: &Build{}},
	} {
		if got := f.Written(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
