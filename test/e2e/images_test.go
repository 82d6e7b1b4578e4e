package e2e

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/caisson/caisson/internal/testkit/missiontest"
)

var nfdPrograms = map[string]string{
	"usr/bin/nfd-master": "nfd-master", "usr/bin/nfd-worker": "nfd-worker", "usr/bin/nfd-gc": "nfd-gc",
}

// moreImages are those of make e2e-controllers alone.
var moreImages = []missiontest.Image{
	{Ref: "registry.k8s.io/nfd/node-feature-discovery:v0.19.0", Programs: nfdPrograms},
	{Ref: "docker.io/rancher/local-path-provisioner:v0.0.30", Root: true,
		Programs: map[string]string{"usr/bin/local-path-provisioner": "local-path-provisioner"}},
	{Ref: "ghcr.io/acme/predictor:1", StandIn: "predict"},
	{Ref: "docker.io/library/busybox:1.37", StandIn: "sh", Root: true},
}

// startControllerUpstream starts the connected side on loopback and returns its
// address.
func startControllerUpstream(t *testing.T, state string) string {
	t.Helper()
	server := httptest.NewServer(diskRegistry(t, filepath.Join(state, "upstream")))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	app, err := os.ReadFile(filepath.Join(state, "app"))
	check(t, err)
	for _, i := range slices.Concat(missiontest.Images, moreImages) {
		push(t, address, i.Ref, buildImage(t, i, app))
	}
	check(t, missiontest.PushCharts(filepath.Join(state, "charts"), address))
	return address
}

// startSiteRegistry starts the registry that the site has.
func startSiteRegistry(t *testing.T, dir string) {
	t.Helper()
	listener, err := net.Listen("tcp", siteRegistry)
	check(t, err)
	server := &http.Server{Handler: diskRegistry(t, dir), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

func diskRegistry(t *testing.T, dir string) http.Handler {
	t.Helper()
	check(t, os.Mkdir(dir, 0o700))
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)))
}

// buildImage builds an image of real programs or, where there are none, of the
// test's own in their place.
func buildImage(t *testing.T, i missiontest.Image, app []byte) v1.Image {
	t.Helper()
	config := v1.Config{Entrypoint: i.Entrypoint, User: "65532:65532", Env: []string{"PATH=/usr/bin"}}
	if i.Root {
		config.User = "0:0"
	}
	files := map[string][]byte{}
	for path, program := range i.Programs {
		var err error
		files[path], err = os.ReadFile(filepath.Join(os.Getenv(envControllers), program))
		check(t, err)
	}
	if i.StandIn != "" {
		files = standIn(i, app)
		config.Entrypoint, config.Env = []string{"/app", i.StandIn}, nil
	}
	img, err := missiontest.BuildImage(files, config)
	check(t, err)
	return img
}

// standIn is what an image of the test's own program holds, and the image's name so
// that its digest is its own.
func standIn(i missiontest.Image, app []byte) map[string][]byte {
	files := map[string][]byte{"app": app, "name": []byte(i.Ref)}
	switch i.StandIn {
	case "sh":
		files["bin/sh"] = app
	case "python3":
		files["usr/bin/python3"] = app
	}
	return files
}
