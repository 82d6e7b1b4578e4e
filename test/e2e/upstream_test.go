package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/caisson/caisson/internal/testkit/missiontest"
)

const pauseImage = "registry.k8s.io/pause:3.10"

// link is one component of the stack: a web server that asks the next one.
type link struct {
	name, image, needs string
	address            net.IP
	replicas           int
	more               string // further images, as YAML
}

var chain = []link{
	{name: "base", image: "registry.k8s.io/acme/base:1", address: net.IPv4(10, 96, 10, 1), replicas: 1, more: "    images: [" + pauseImage + "]\n"},
	{name: "api", image: "quay.io/acme/api:1", needs: "base", address: net.IPv4(10, 96, 10, 2), replicas: 2},
	{name: "web", image: "ghcr.io/acme/web:1", needs: "api", address: net.IPv4(10, 96, 10, 3), replicas: 2},
}

// extra is a second stack, newer its next version.
var (
	extra = []link{{name: "side", image: "ghcr.io/acme/side:1", address: net.IPv4(10, 96, 10, 4), replicas: 2}}
	newer = []link{{name: "side", image: "ghcr.io/acme/side:2", address: net.IPv4(10, 96, 10, 4), replicas: 2}}
)

// startUpstream starts the connected side on loopback and returns its address.
func startUpstream(t *testing.T, binary []byte) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	push(t, address, pauseImage, image(t, binary, "pause", "/app", "pause"))
	for _, l := range slices.Concat(chain, extra, newer) {
		push(t, address, l.image, image(t, binary, l.name+l.image, "/app"))
	}
	pushChart(t, address)
	return address
}

func push(t *testing.T, address, ref string, img v1.Image) {
	t.Helper()
	check(t, missiontest.PushImage(address, ref, img))
}

// image holds the program, and its own name so that its digest is its own.
func image(t *testing.T, binary []byte, name string, entrypoint ...string) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layer(t, "app", binary), layer(t, "name", []byte(name)))
	check(t, err)
	img, err = missiontest.Configure(img, v1.Config{Entrypoint: entrypoint, User: "65532:65532", Env: []string{"PATH=/"}})
	check(t, err)
	return img
}

func layer(t *testing.T, name string, data []byte) v1.Layer {
	t.Helper()
	archive, err := missiontest.Archive(map[string][]byte{name: data})
	check(t, err)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil })
	check(t, err)
	return l
}

func pushChart(t *testing.T, address string) {
	t.Helper()
	files := map[string][]byte{}
	check(t, fs.WalkDir(os.DirFS("."), "chart", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files["site-app/"+strings.TrimPrefix(path, "chart/")], err = os.ReadFile(path)
		return err
	}))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	archive, err := missiontest.Archive(files)
	check(t, err)
	_, err = w.Write(archive)
	check(t, err)
	check(t, w.Close())
	check(t, missiontest.PushChart(packed.Bytes(), address+"/ghcr.io/acme/charts/site-app:1.0.0"))
}

// stack is what a stack file says.
type stack struct {
	name, version string
	links         []link
	agent         bool
}

// writeStack writes the stack and the upstreams file into dir.
func writeStack(t *testing.T, dir, address string, s stack) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: %s, version: %s}\nplatforms: [linux/amd64]\nkubernetes: {versions: [\"1.36\"]}\n", s.name, s.version)
	if s.agent {
		b.WriteString("agent: true\n")
	}
	b.WriteString("components:\n")
	for _, l := range s.links {
		fmt.Fprintf(&b, "  - name: %s\n    namespace: %s\n%s", l.name, l.name, l.more)
		upstream := ""
		if l.needs != "" {
			fmt.Fprintf(&b, "    needs: [%s]\n", l.needs)
			upstream = fmt.Sprintf("http://%s.%s.svc.cluster.local/", l.needs, l.needs)
		}
		fmt.Fprintf(&b, "    charts:\n      - name: %s\n        source: oci://ghcr.io/acme/charts/site-app\n        version: 1.0.0\n", l.name)
		fmt.Fprintf(&b, "        values: {image: %q, upstream: %q, clusterIP: %q, replicas: %d}\n", l.image, upstream, l.address, l.replicas)
		fmt.Fprintf(&b, "    ready:\n      - {kind: Deployment, name: %s, condition: Available}\n", l.name)
	}
	check(t, os.WriteFile(filepath.Join(dir, "stack.yaml"), []byte(b.String()), 0o600))
	writeUpstreams(t, dir, address, "")
}

// writeUpstreams leads what is upstream to the test's registry at address and,
// unless empty, its model hub.
func writeUpstreams(t *testing.T, dir, address, hub string) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(dir, "upstreams.yaml"), missiontest.UpstreamsYAML(address, hub), 0o600))
}
