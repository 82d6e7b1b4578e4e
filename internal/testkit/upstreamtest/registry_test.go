package upstreamtest_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

var demoImages = []string{
	"quay.io/acme/proxy:2.0.0", "quay.io/acme/proxy:2.1.0", "quay.io/acme/tool:1", "ghcr.io/acme/tool:1",
	"registry.k8s.io/acme/certs:0.4.0", "docker.io/acme/old:0.9.0",
}

func reference(t *testing.T, registry, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(registry+"/"+ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestImagesAreValid(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	for _, ref := range demoImages {
		image, err := remote.Image(reference(t, up.Addresses().Registry, ref))
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		checkImage(t, ref, image)
		if d, err := image.Digest(); err != nil || d.String() != up.Digest(ref).String() {
			t.Errorf("%s: %v, %v", ref, d, err)
		}
	}
}

func checkImage(t *testing.T, ref string, image ggcr.Image) {
	t.Helper()
	checkLayers(t, ref, image)
	mediaType, err := image.MediaType()
	if docker := mediaType == types.DockerManifestSchema2; err != nil || docker != strings.HasPrefix(ref, "docker.io/") {
		t.Errorf("%s: %s, %v", ref, mediaType, err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	top, err := layers[len(layers)-1].MediaType()
	if plain := top == types.OCIUncompressedLayer; err != nil || plain != strings.Contains(ref, "/certs:") {
		t.Errorf("%s: %s, %v", ref, top, err)
	}
}

// checkLayers has ggcr validate an image with gzip layers. Because that knows no
// others, plain ones are held against digest and diff ID here.
func checkLayers(t *testing.T, ref string, image ggcr.Image) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var options []validate.Option
	for _, l := range layers {
		if mediaType, err := l.MediaType(); err == nil && mediaType == types.OCIUncompressedLayer {
			options = []validate.Option{validate.Fast}
			checkPlainLayer(t, ref, l)
		}
	}
	if err := validate.Image(image, options...); err != nil {
		t.Errorf("%s: %v", ref, err)
	}
}

func checkPlainLayer(t *testing.T, ref string, l ggcr.Layer) {
	t.Helper()
	data := readLayer(t, l)
	digest, err := l.Digest()
	if err != nil || digest.Hex != sha(data) {
		t.Errorf("%s: digest %s, %v", ref, digest, err)
	}
	if diffID, err := l.DiffID(); err != nil || diffID != digest {
		t.Errorf("%s: diff ID %s, %v", ref, diffID, err)
	}
	entries := tar.NewReader(bytes.NewReader(data))
	for {
		if _, err := entries.Next(); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("%s: %v", ref, err)
			return
		}
	}
}

func TestIndexHasPlatformsAndAttestations(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	index, err := remote.Index(reference(t, up.Addresses().Registry, "ghcr.io/acme/web:1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"linux/amd64", "linux/arm64", "unknown/unknown", "unknown/unknown"} {
		m := manifest.Manifests[i]
		if m.Platform.String() != want {
			t.Errorf("%d: %s", i, m.Platform)
		}
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			if err := validate.Image(image); err != nil {
				t.Error(err)
			}
			continue
		}
		if m.Annotations["vnd.docker.reference.digest"] != manifest.Manifests[i-2].Digest.String() {
			t.Errorf("%d: annotations %v", i, m.Annotations)
		}
	}
}

func TestSignatureVerifies(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	tag := strings.Replace(up.Digest("ghcr.io/acme/web:1.2.3").String(), ":", "-", 1) + ".sig"
	image, err := remote.Image(reference(t, up.Addresses().Registry, "ghcr.io/acme/web:"+tag))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(manifest.Layers[0].Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	payload := readLayer(t, layers[0])
	key, err := cryptoutils.UnmarshalPEMToPublicKey(upstreamtest.SigningKey())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(payload)
	if !ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), sum[:], signature) || !bytes.Contains(payload, []byte(up.Digest("ghcr.io/acme/web:1.2.3"))) {
		t.Fatalf("%v signature over %s does not verify", crypto.SHA256, payload)
	}
}

func readLayer(t *testing.T, l ggcr.Layer) []byte {
	t.Helper()
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOrasFindsTheReferrer(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	repository, err := orasremote.NewRepository(up.Addresses().Registry + "/ghcr.io/acme/web")
	if err != nil {
		t.Fatal(err)
	}
	repository.PlainHTTP = true
	var found []v1.Descriptor
	subject := v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: up.Digest("ghcr.io/acme/web:1.2.3")}
	err = repository.Referrers(t.Context(), subject, "application/spdx+json", func(page []v1.Descriptor) error {
		found = append(found, page...)
		return nil
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d referrers, %v", len(found), err)
	}
	raw, err := content.FetchAll(t.Context(), repository, found[0])
	var manifest v1.Manifest
	if err != nil || json.Unmarshal(raw, &manifest) != nil || manifest.Subject.Digest != subject.Digest {
		t.Fatalf("%s: %v", raw, err)
	}
}

// copyWithOras copies a reference into memory, which proves every digest.
func copyWithOras(ctx context.Context, repository, tag string) (v1.Descriptor, error) {
	source, err := orasremote.NewRepository(repository)
	if err != nil {
		return v1.Descriptor{}, err
	}
	source.PlainHTTP = true
	return oras.Copy(ctx, source, tag, memory.New(), tag, oras.DefaultCopyOptions)
}

func TestOrasCopies(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	for _, ref := range append(demoImages, "ghcr.io/acme/web:1.2.3", "ghcr.io/acme/charts/tool:1.0.0_acme.1") {
		repository, tag, _ := strings.Cut(ref, ":")
		d, err := copyWithOras(t.Context(), up.Addresses().Registry+"/"+repository, tag)
		if err != nil || d.Digest != up.Digest(ref) {
			t.Errorf("%s: %s, %v", ref, d.Digest, err)
		}
	}
}

func TestAdvanceMovesTagAndCommit(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	before, commit := up.Digest("ghcr.io/acme/web:1.2.3"), up.ModelCommit()
	if err := up.Advance(); err != nil {
		t.Fatal(err)
	}
	registry := up.Addresses().Registry
	d, err := copyWithOras(t.Context(), registry+"/ghcr.io/acme/web", "1.2.3")
	if err != nil || d.Digest == before || d.Digest != up.Digest("ghcr.io/acme/web:1.2.3") {
		t.Fatalf("tag at %s, %v", d.Digest, err)
	}
	if _, err := copyWithOras(t.Context(), registry+"/ghcr.io/acme/web", before.String()); err != nil {
		t.Fatalf("the old digest: %v", err)
	}
	if up.ModelCommit() == commit {
		t.Fatal("the commit has not moved")
	}
	hub := "http://" + up.Addresses().Hub + "/api/models/acme/tiny-llm/tree/"
	old, _ := listTree(t, hub+commit+"?recursive=true")
	now, _ := listTree(t, hub+"main?recursive=true")
	var changed []string
	for i := range now {
		if now[i].OID != old[i].OID {
			changed = append(changed, now[i].Path)
		}
	}
	if strings.Join(changed, " ") != "model-00002-of-00002.safetensors" {
		t.Fatalf("changed: %v", changed)
	}
}

func TestBlobsAreCountedByDigest(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	for _, repository := range []string{"quay.io/acme/tool", "ghcr.io/acme/tool"} {
		if _, err := copyWithOras(t.Context(), up.Addresses().Registry+"/"+repository, "1"); err != nil {
			t.Fatal(err)
		}
	}
	stats := up.Stats()
	twice := 0
	for digest, c := range stats.Blobs {
		if c.Gets != c.Ended || c.Bytes == 0 {
			t.Errorf("%s: %+v", digest, c)
		}
		if c.Gets == 2 {
			twice++
		}
	}
	// Two shared layers fetched from both repositories; a layer and a config each.
	if len(stats.Blobs) != 6 || twice != 2 {
		t.Errorf("%d blobs, %d of them twice", len(stats.Blobs), twice)
	}
	if sum := stats.Sum(upstreamtest.Payload); sum.Gets != 8 {
		t.Errorf("payload %+v", sum)
	}
	up.ResetStats()
	if len(up.Stats().Paths) != 0 {
		t.Error("counters are not reset")
	}
}

func TestSkopeoCopies(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("no skopeo here")
	}
	up := start(t, upstreamtest.Options{Workload: small()})
	dir := t.TempDir()
	for _, ref := range []string{
		up.Addresses().Registry + "/ghcr.io/acme/web:1.2.3", up.Addresses().Registry + "/docker.io/acme/old:0.9.0",
		up.Addresses().Workload + "/bench.acme.example/img00:v1", up.Addresses().Workload + "/bench.acme.example/img02:v2",
	} {
		out, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "--tmpdir", dir, "copy", "--all", "--preserve-digests",
			"--src-tls-verify=false", "docker://"+ref, "dir:"+t.TempDir()).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", ref, err, out)
		}
	}
}
