package missiontest

import (
	"archive/tar"
	"bytes"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is an image of another project.
type Image struct {
	Ref string
	// Programs are what it holds and can be built from a Go module, by path in the
	// image: names of programs of test/controllers. None: it cannot.
	Programs   map[string]string
	Entrypoint []string // of Programs
	StandIn    string   // what the program of test/e2e/app does in its place
	Root       bool     // it runs as root
}

// Images are those that the profiles minimal and training name.
var Images = []Image{
	{Ref: "registry.k8s.io/pause:3.10", StandIn: "pause"},
	certManagerImage("controller"), certManagerImage("webhook"), certManagerImage("cainjector"), certManagerImage("startupapicheck"),
	{Ref: "quay.io/jetstack/cert-manager-acmesolver:v1.21.1", StandIn: "pause"},
	managerImage("registry.k8s.io/jobset/jobset:v0.12.0", "jobset"),
	managerImage("registry.k8s.io/kueue/kueue:v0.19.2", "kueue"),
	managerImage("ghcr.io/kubeflow/trainer/trainer-controller-manager:v2.3.0", "trainer-controller-manager"),
	{Ref: "docker.io/pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime", StandIn: "train"},
	managerImage("docker.io/kserve/kserve-controller:v0.20.0", "kserve"),
	{Ref: "quay.io/brancz/kube-rbac-proxy:v0.18.0", StandIn: "pause"},
	{Ref: "docker.io/kserve/agent:v0.20.0", StandIn: "pause"},
	{Ref: "docker.io/kserve/router:v0.20.0", StandIn: "pause"},
	{Ref: "docker.io/kserve/storage-initializer:v0.20.0", StandIn: "pause"},
	{Ref: "docker.io/kserve/art-explainer:v0.20.0", StandIn: "pause"},
	{Ref: "docker.io/vllm/vllm-openai-cpu:v0.30.0", StandIn: "python3"},
}

func certManagerImage(what string) Image {
	return Image{
		Ref:      "quay.io/jetstack/cert-manager-" + what + ":v1.21.1",
		Programs: map[string]string{"cert-manager": "cert-manager"}, Entrypoint: []string{"/cert-manager", what},
	}
}

func managerImage(ref, program string) Image {
	return Image{Ref: ref, Programs: map[string]string{"manager": program}, Entrypoint: []string{"/manager"}}
}

// BuildImage makes an image of one layer, which is not compressed.
func BuildImage(files map[string][]byte, config v1.Config) (v1.Image, error) {
	layer, err := Archive(files)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, static.NewLayer(layer, types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	return Configure(img, config)
}

// Configure gives an image its platform and what a container runtime is told.
func Configure(img v1.Image, config v1.Config) (v1.Image, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	return mutate.ConfigFile(img, file)
}

// Archive is a tar of files, all of which may be executed.
func Archive(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// PushImage pushes an image under its upstream name into the registry at an address.
func PushImage(address, ref string, img v1.Image) error {
	target, err := name.ParseReference(address + "/" + ref)
	if err != nil {
		return err
	}
	return remote.Write(target, img)
}
