package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// joined unpacks the demo stack's bundle with cat and tar.
func joined(t *testing.T) (*road, tools) {
	t.Helper()
	bin := needTools(t)
	r := packedRoad(t, "1MiB")
	s := tools{t: t, bin: bin, dir: r.dir}
	s.run("mkdir layout && cat out/*.head.tar out/*.vol-*.tar | tar x -C layout")
	return r, s
}

// layout is an OCI image layout on disk.
type layout struct {
	t   *testing.T
	dir string
}

func (l layout) read(name string) []byte {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return data
}

func (l layout) index() ocispec.Index {
	l.t.Helper()
	var index ocispec.Index
	if err := json.Unmarshal(l.read("index.json"), &index); err != nil {
		l.t.Fatal(err)
	}
	return index
}

func (l layout) path(d digest.Digest) string {
	return filepath.Join("blobs", string(d.Algorithm()), d.Encoded())
}

// check follows a descriptor to everything it names and returns the children of
// indexes that are not there.
func (l layout) check(d ocispec.Descriptor) (absent []digest.Digest) {
	l.t.Helper()
	data := l.read(l.path(d.Digest))
	if int64(len(data)) != d.Size || digest.FromBytes(data) != d.Digest {
		l.t.Errorf("%s: size or digest differs", d.Digest)
	}
	var m struct {
		Manifests []ocispec.Descriptor
		Layers    []ocispec.Descriptor
		Config    *ocispec.Descriptor
	}
	if !strings.Contains(d.MediaType, ".manifest.") && !strings.Contains(d.MediaType, ".index.") {
		return nil
	}
	if err := json.Unmarshal(data, &m); err != nil {
		l.t.Fatalf("%s: %v", d.Digest, err)
	}
	if m.Config != nil {
		l.check(*m.Config)
	}
	for _, b := range m.Layers {
		l.check(b)
	}
	for _, child := range m.Manifests {
		if _, err := os.Stat(filepath.Join(l.dir, l.path(child.Digest))); err != nil {
			absent = append(absent, child.Digest)
			continue
		}
		absent = append(absent, l.check(child)...)
	}
	return absent
}

// TestJoinedTarIsALayout: cat and tar give a layout in which every reference has
// the digest of the lock and of the upstream, and of which only platforms that
// were not chosen are missing.
func TestJoinedTarIsALayout(t *testing.T) {
	r, s := joined(t)
	l := layout{t, filepath.Join(s.dir, "layout")}
	if got := strings.TrimSpace(string(l.read("oci-layout"))); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
	err := filepath.WalkDir(filepath.Join(l.dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && digest.FromBytes(data).Encoded() != e.Name() {
			t.Errorf("%s holds something else", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]digest.Digest{}
	for _, d := range l.index().Manifests {
		named[d.Annotations[ocispec.AnnotationRefName]] = d.Digest
		absent := l.check(d)
		if carried := carriedDigests(r.lock()); slices.ContainsFunc(absent, func(d digest.Digest) bool { return carried[d] }) {
			t.Errorf("%s lacks a child that the lock carries: %v", d.Annotations[ocispec.AnnotationRefName], absent)
		}
	}
	for _, it := range r.lock().Items {
		if it.Digest != "" && named[string(it.Ref)] != it.Digest || named[string(it.Ref)] == "" {
			t.Errorf("%s is %q in the layout and %q in the lock", it.Ref, named[string(it.Ref)], it.Digest)
		}
		if up := r.up.Digest(string(it.Ref)); up != "" && up != named[string(it.Ref)] {
			t.Errorf("%s is %s upstream and %s in the layout", it.Ref, up, named[string(it.Ref)])
		}
	}
}

func carriedDigests(l *lock.Lock) map[digest.Digest]bool {
	all := map[digest.Digest]bool{}
	for _, it := range l.Items {
		for _, m := range it.Manifests() {
			all[m.Digest] = true
		}
	}
	return all
}

// forAMD64 is the manifest of an image for linux/amd64.
func forAMD64(t *testing.T, it lock.Item) lock.ImageManifest {
	t.Helper()
	for _, m := range it.Manifests() {
		if m.Platform == "linux/amd64" {
			return m
		}
	}
	t.Fatalf("%s has nothing for linux/amd64", it.Ref)
	return lock.ImageManifest{}
}

// TestSkopeoReadsEveryImage: by name, for a platform, with unchanged bytes.
// skopeo reads no Docker manifest from an OCI layout.
func TestSkopeoReadsEveryImage(t *testing.T) {
	r, s := joined(t)
	images := 0
	for _, it := range r.lock().Items {
		if it.Kind != lock.Image {
			continue
		}
		want := forAMD64(t, it)
		line := fmt.Sprintf("rm -rf copy && skopeo --insecure-policy copy -q --override-os linux --override-arch amd64 'oci:layout:%s' dir:copy", it.Ref)
		if strings.HasPrefix(want.MediaType, "application/vnd.docker.") {
			if out, err := s.command(line); err == nil {
				t.Errorf("skopeo now reads Docker manifests: %s", out)
			}
			continue
		}
		images++
		s.run(line)
		copied := layout{t, filepath.Join(s.dir, "copy")}
		if got := digest.FromBytes(copied.read("manifest.json")); got != want.Digest {
			t.Errorf("%s: skopeo copied manifest %s, not %s", it.Ref, got, want.Digest)
		}
		for _, b := range append(want.Layers, *want.Config) {
			if got := digest.FromBytes(copied.read(b.Digest.Encoded())); got != b.Digest {
				t.Errorf("%s: skopeo copied blob %s as %s", it.Ref, b.Digest, got)
			}
		}
	}
	if images < 5 {
		t.Errorf("only %d images", images)
	}
}

var orasDigest = regexp.MustCompile(`(?m)^Digest: (sha256:[0-9a-f]{64})$`)

// TestOrasReadsEverything: images, Docker's included, for a platform; the rest
// whole. References have colons, so the layout is named with a digest or apart
// from the reference. What refers to an image is only read as a manifest: a copy
// of it would have oras copy the image with every platform.
func TestOrasReadsEverything(t *testing.T) {
	r, s := joined(t)
	docker := false
	for _, d := range (layout{t, filepath.Join(s.dir, "layout")}).index().Manifests {
		ref, want, platform := d.Annotations[ocispec.AnnotationRefName], d.Digest, ""
		if d.Annotations["dev.caisson.kind"] == string(lock.Referrer) {
			out := s.run(fmt.Sprintf("oras manifest fetch --oci-layout 'layout@%s'", d.Digest))
			if digest.FromString(out) != d.Digest {
				t.Errorf("%s: oras reads another manifest: %s", ref, out)
			}
			continue
		}
		if i := slices.IndexFunc(r.lock().Items, func(it lock.Item) bool { return string(it.Ref) == ref && it.Kind == lock.Image }); i >= 0 {
			want, platform = forAMD64(t, r.lock().Items[i]).Digest, "--platform linux/amd64"
			docker = docker || strings.HasPrefix(d.MediaType, "application/vnd.docker.")
		}
		for _, from := range []string{
			fmt.Sprintf("--from-oci-layout 'layout@%s'", d.Digest),
			fmt.Sprintf("--from-oci-layout-path layout '%s'", ref),
		} {
			out := s.run(fmt.Sprintf("rm -rf copy && oras cp --no-tty --to-oci-layout %s %s copy:x", platform, from))
			if m := orasDigest.FindStringSubmatch(out); m == nil || m[1] != string(want) {
				t.Errorf("%s: oras copied %v, not %s\n%s", ref, m, want, out)
			}
		}
	}
	if !docker {
		t.Error("no Docker manifest was among them")
	}
}

// TestCosignVerifiesTheBundle: stock cosign accepts the signature without any
// network, and nothing else.
func TestCosignVerifiesTheBundle(t *testing.T) {
	r, s := joined(t)
	r.must("keys", "generate", "--out", r.path("other"))
	if err := os.WriteFile(r.path("another.json"), append((layout{t, r.path("layout")}).read("index.json"), ' '), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run("cosign trusted-root create --out empty.json")
	verify := func(key, kind, index string) (string, error) {
		return s.command("cosign verify-blob-attestation --key " + key + " --bundle out/*.sigstore.json --type " + kind +
			" --insecure-ignore-tlog --trusted-root empty.json " + index)
	}
	const kind = "https://caisson.dev/bundle/v1"
	if out, err := verify("keys/caisson.pub", kind, "layout/index.json"); err != nil || !strings.Contains(out, "Verified OK") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, wrong := range [][3]string{
		{"other/caisson.pub", kind, "layout/index.json"},
		{"keys/caisson.pub", "https://caisson.dev/bundle/v2", "layout/index.json"},
		{"keys/caisson.pub", kind, "another.json"},
		{"keys/caisson.pub", kind, "layout/oci-layout"},
	} {
		if out, err := verify(wrong[0], wrong[1], wrong[2]); err == nil {
			t.Errorf("cosign accepts %v\n%s", wrong, out)
		}
	}
}

// TestReadmeOpensABundle runs the README's lines for whoever has no caisson.
func TestReadmeOpensABundle(t *testing.T) {
	bin := needTools(t)
	r := packedRoad(t, "4MiB")
	registry := bundletest.NewRegistry(t, false)
	s := tools{t: t, bin: bin, dir: r.path("out")}
	signatures, err := filepath.Glob(r.path("out/*.sigstore.json"))
	if err != nil || len(signatures) != 1 {
		t.Fatalf("%v, %v", signatures, err)
	}
	public, err := os.ReadFile(r.key())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("out/caisson.pub"), public, 0o644); err != nil {
		t.Fatal(err)
	}
	host := strings.Replace(registry.Host, "127.0.0.1", "localhost", 1)
	here := strings.NewReplacer("NAME.KEYID.sigstore.json", filepath.Base(signatures[0]), "NAME", packName, "registry.site:5000", host)
	blocks := readmeBlocks(t, "## Opening a bundle without Caisson")
	if len(blocks) < 2 {
		t.Fatalf("only %d blocks of commands", len(blocks))
	}
	var said strings.Builder
	for _, block := range blocks {
		said.WriteString(s.run(here.Replace(block)))
	}
	if !strings.Contains(said.String(), "Verified OK") {
		t.Errorf("no signature was verified\n%s", said.String())
	}
	const ref = "ghcr.io/acme/web:1.2.3"
	it := r.lock().Items[slices.IndexFunc(r.lock().Items, func(it lock.Item) bool { return it.Ref == ref })]
	if got := strings.TrimSpace(s.run("crane digest " + registry.Host + "/acme/web:1.2.3")); got != string(forAMD64(t, it).Digest) {
		t.Errorf("%s went to the registry as %s", ref, got)
	}
}

// readmeBlocks are the indented blocks of a section.
func readmeBlocks(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), heading+"\n")
	if !found {
		t.Fatalf("the README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	open := false
	for line := range strings.Lines(section) {
		code, ok := strings.CutPrefix(line, "    ")
		if ok && !open {
			blocks = append(blocks, "")
		}
		if open = ok; ok {
			blocks[len(blocks)-1] += code
		}
	}
	return blocks
}
