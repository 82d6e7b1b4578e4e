package e2e

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// realImage is an image around programs of test/controllers.
type realImage struct {
	ref        string
	programs   map[string]string // path in the image → program
	entrypoint []string
	root       bool
}

var nfdPrograms = map[string]string{
	"usr/bin/nfd-master": "nfd-master", "usr/bin/nfd-worker": "nfd-worker", "usr/bin/nfd-gc": "nfd-gc",
}

var realImages = []realImage{
	certManagerImage("controller"), certManagerImage("webhook"), certManagerImage("cainjector"), certManagerImage("startupapicheck"),
	{ref: "registry.k8s.io/nfd/node-feature-discovery:v0.19.0", programs: nfdPrograms},
	managerImage("registry.k8s.io/jobset/jobset:v0.12.0", "jobset"),
	managerImage("registry.k8s.io/kueue/kueue:v0.19.2", "kueue"),
	managerImage("ghcr.io/kubeflow/trainer/trainer-controller-manager:v2.3.0", "trainer-controller-manager"),
	managerImage("docker.io/kserve/kserve-controller:v0.20.0", "kserve"),
	{ref: "docker.io/rancher/local-path-provisioner:v0.0.30", root: true,
		programs: map[string]string{"usr/bin/local-path-provisioner": "local-path-provisioner"}},
}

func certManagerImage(what string) realImage {
	return realImage{
		ref:      "quay.io/jetstack/cert-manager-" + what + ":v1.21.1",
		programs: map[string]string{"cert-manager": "cert-manager"}, entrypoint: []string{"/cert-manager", what},
	}
}

func managerImage(ref, program string) realImage {
	return realImage{ref: ref, programs: map[string]string{"manager": program}, entrypoint: []string{"/manager"}}
}

// standIns are images with the test's own program in place of what cannot be
// built from Go modules. What is only carried, and never run here, pauses.
var standIns = []struct{ ref, mode string }{
	{pauseImage, "pause"},
	{"ghcr.io/acme/predictor:1", "predict"},
	{"docker.io/pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime", "train"},
	{"docker.io/library/busybox:1.37", "sh"},
	{"quay.io/brancz/kube-rbac-proxy:v0.18.0", "pause"},
	{"quay.io/jetstack/cert-manager-acmesolver:v1.21.1", "pause"},
	{"docker.io/kserve/agent:v0.20.0", "pause"},
	{"docker.io/kserve/router:v0.20.0", "pause"},
	{"docker.io/kserve/storage-initializer:v0.20.0", "pause"},
	{"docker.io/kserve/art-explainer:v0.20.0", "pause"},
	{"docker.io/vllm/vllm-openai-cpu:v0.30.0", "python3"},
}

// startControllerUpstream starts the connected side on loopback and returns its
// address.
func startControllerUpstream(t *testing.T, state string) string {
	t.Helper()
	server := httptest.NewServer(diskRegistry(t, filepath.Join(state, "upstream")))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	for _, i := range realImages {
		push(t, address, i.ref, i.build(t))
	}
	app, err := os.ReadFile(filepath.Join(state, "app"))
	check(t, err)
	for _, s := range standIns {
		files := map[string][]byte{"app": app, "name": []byte(s.ref)}
		switch s.mode {
		case "sh":
			files["bin/sh"] = app
		case "python3":
			files["usr/bin/python3"] = app
		}
		push(t, address, s.ref, scratch(t, files, v1.Config{Entrypoint: []string{"/app", s.mode}, User: userOf(s.mode == "sh")}))
	}
	pushCharts(t, filepath.Join(state, "charts"), address)
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

func (i realImage) build(t *testing.T) v1.Image {
	t.Helper()
	files := map[string][]byte{}
	for path, program := range i.programs {
		var err error
		files[path], err = os.ReadFile(filepath.Join(os.Getenv(envControllers), program))
		check(t, err)
	}
	return scratch(t, files, v1.Config{Entrypoint: i.entrypoint, User: userOf(i.root), Env: []string{"PATH=/usr/bin"}})
}

func userOf(root bool) string {
	if root {
		return "0:0"
	}
	return "65532:65532"
}

// scratch is an image of one layer, which is not compressed.
func scratch(t *testing.T, files map[string][]byte, config v1.Config) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, static.NewLayer(archive(t, files), types.OCIUncompressedLayer))
	check(t, err)
	file, err := img.ConfigFile()
	check(t, err)
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	img, err = mutate.ConfigFile(img, file)
	check(t, err)
	return img
}
