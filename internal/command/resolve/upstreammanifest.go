package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/kustomize"
	"github.com/caisson/caisson/internal/rules/document"
)

// maxPatchFile bounds a patch beside the stack.
const maxPatchFile = 1 << 20

// resolveUpstreamManifest resolves Kubernetes YAML that a project publishes and finds its
// images.
func (s *session) resolveUpstreamManifest(ctx context.Context, i, j int) {
	comp := &s.stack.Components[i]
	m := &comp.UpstreamManifests[j]
	at := stackField{
		field: fmt.Sprintf("components[%d].upstreamManifests[%d]", i, j),
		what:  fmt.Sprintf("component %s: manifest %s", comp.Name, m.Name),
	}
	s.resolveItem(lock.Manifest, m.FileName(), at, func() (int64, evidence, error) {
		data, raw, err := s.readUpstreamManifest(ctx, m, at)
		if err != nil {
			return 0, evidence{}, err
		}
		docs, err := document.Split(raw.Written(), string(data))
		if err != nil {
			return 0, evidence{}, err
		}
		if err := checkObjects(docs); err != nil {
			return 0, evidence{}, err
		}
		s.discoverImages(docs, comp.Name, "manifest "+raw.Name, at)
		source := raw.URL
		if raw.Build != nil {
			source = raw.Build.Origin()
		}
		it := rawItem(lock.Manifest, comp.Name, raw, source)
		s.found.addItem(it, comp.Name)
		s.found.addManifest(i, len(comp.Manifests)+j, it.Ref)
		return raw.Size, evidence{}, nil
	})
}

// readUpstreamManifest fetches a manifest, or builds it of what is fetched.
func (s *session) readUpstreamManifest(
	ctx context.Context, m *stack.UpstreamManifest, at stackField,
) ([]byte, *lock.RawFile, error) {
	raw := &lock.RawFile{Name: m.FileName(), URL: m.URL, MediaType: lock.MediaTypeManifest}
	var data []byte
	var err error
	if m.Plain() {
		data, err = s.readPlain(ctx, m)
	} else {
		raw.URL = ""
		data, raw.Build, err = s.build(ctx, m, at)
	}
	if err != nil {
		return nil, nil, err
	}
	raw.Digest, raw.Size = digest.FromBytes(data), int64(len(data))
	return data, raw, nil
}

func (s *session) readPlain(ctx context.Context, m *stack.UpstreamManifest) ([]byte, error) {
	data, err := kustomize.ReadYAML(ctx, s.fetch, m.URL)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); m.SHA256 != "" && got != wantedDigest(m) {
		return nil, &stack.DiffersError{Want: string(wantedDigest(m)), Got: string(got)}
	}
	return data, nil
}

// wantedDigest is what the stack says of what the URL gives, "" for nothing.
func wantedDigest(m *stack.UpstreamManifest) digest.Digest {
	if m.SHA256 == "" {
		return ""
	}
	return digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(m.SHA256, "sha256:"))
}

func (s *session) build(ctx context.Context, m *stack.UpstreamManifest, at stackField) ([]byte, *lock.Build, error) {
	r := kustomize.Recipe{Sum: wantedDigest(m)}
	r.Source.URL, r.Source.Folder = m.Place()
	r.Source.Archive, r.Files, r.Namespace = m.Archived(), m.Files, m.Namespace
	r.Place = func(name string, onlyFile bool) (lock.BuildSource, bool) { return placeRemote(m, name, onlyFile) }
	var err error
	if r.Patches, err = s.readPatches(m, at.field); err != nil {
		return nil, nil, err
	}
	data, made, err := s.builder.Build(ctx, r)
	if differs, ok := errors.AsType[*kustomize.DiffersError](err); ok {
		return nil, nil, &stack.DiffersError{Want: string(differs.Want), Got: string(differs.Got)}
	}
	if err != nil {
		return nil, nil, s.adviseRemotes(err)
	}
	return data, made, nil
}

// placeRemote says where something comes from that a kustomization names outside its
// archive: the stack says so, or its name does.
func placeRemote(m *stack.UpstreamManifest, name string, onlyFile bool) (lock.BuildSource, bool) {
	for _, r := range m.Remotes {
		if r.Match == name {
			url, folder := r.Place()
			return lock.BuildSource{URL: url, Folder: folder, Archive: folder != ""}, !onlyFile || folder == ""
		}
	}
	url, folder, ok := stack.RemotePlace(name, onlyFile)
	return lock.BuildSource{URL: url, Folder: folder, Archive: folder != ""}, ok
}

// adviseRemotes adds to an error about remotes what to write into the stack.
func (s *session) adviseRemotes(err error) error {
	lost, ok := errors.AsType[*kustomize.RemoteError](err)
	if !ok {
		return err
	}
	line := fmt.Sprintf("{match: %q, url: https://HOST/ARCHIVE.tar.gz, kustomize: FOLDER}", lost.Name)
	if lost.OnlyFile {
		line = fmt.Sprintf("{match: %q, url: https://HOST/FILE}", lost.Name)
	}
	return fmt.Errorf("%w\nsay it under remotes of this manifest in %s: %s", err, s.stackName(), line)
}

// readPatches are the manifest's patches, with their texts.
func (s *session) readPatches(m *stack.UpstreamManifest, field string) ([]lock.ManifestPatch, error) {
	var out []lock.ManifestPatch
	for k, p := range m.Patches {
		one := lock.ManifestPatch{Patch: p.Patch, Target: p.Target}
		if p.Path != "" {
			data, err := s.stack.Origin(fmt.Sprintf("%s.patches[%d]", field, k)).File.Read(p.Path, maxPatchFile)
			if err != nil {
				return nil, fmt.Errorf("patches[%d]: %w", k, err)
			}
			one.Patch = string(data)
		}
		out = append(out, one)
	}
	return out, nil
}

// errNoObjects: what an upstream gives is not Kubernetes YAML.
var errNoObjects = errors.New("it is not Kubernetes YAML: apiVersion and kind are missing")

// checkObjects wants Kubernetes objects in documents of an upstream, which may be a page
// that says that nothing is there.
func checkObjects(docs []document.Document) error {
	for _, d := range docs {
		if !strings.Contains(d.Source, "apiVersion") || !strings.Contains(d.Source, "kind") {
			return fmt.Errorf("%s:%d: %w", d.Template, d.Line, errNoObjects)
		}
	}
	if len(docs) == 0 {
		return errNoObjects
	}
	return nil
}
