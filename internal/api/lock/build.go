package lock

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Bounds on how one manifest is built.
const (
	maxBuildFiles   = 10_000
	maxBuildRemotes = 100
	maxBuildPatches = 1000
	maxPatch        = 1 << 20
)

// Build is how a manifest is made of what its project publishes. With the same builder it
// always comes to the same bytes.
type Build struct {
	Builder   string          `yaml:"builder"` // what builds it: kustomize v0.21.1
	Source    BuildSource     `yaml:"source"`
	Files     []string        `yaml:"files,omitempty"`   // in the archive, in their order; of no kustomization
	Remotes   []BuildSource   `yaml:"remotes,omitempty"` // what kustomizations name outside the archive, sorted by name
	Namespace string          `yaml:"namespace,omitempty"`
	Patches   []ManifestPatch `yaml:"patches,omitempty"` // in the stack's order
}

// BuildSource is a file, or an archive of files.
type BuildSource struct {
	Name string `yaml:"name,omitempty"` // of a remote: as the kustomization has it
	URL  string `yaml:"url"`
	// Digest is that of the file; of an archive that of the tar in it, which hosts compress
	// anew now and then. Size is of the same.
	Digest digest.Digest `yaml:"digest"`
	Size   int64         `yaml:"size"`
	// Folder has the kustomization, below the archive's one top folder, which is ".".
	Folder  string `yaml:"folder,omitempty"`
	Archive bool   `yaml:"archive,omitempty"`
	Commit  string `yaml:"commit,omitempty"` // that the archive says it is of
}

// ManifestPatch changes objects as a patch of a kustomization does.
type ManifestPatch struct {
	Patch  string       `yaml:"patch"`
	Target *PatchTarget `yaml:"target,omitempty"`
}

// PatchTarget says which objects a patch changes. Group, version, kind, name and namespace
// are regular expressions of the whole.
type PatchTarget struct {
	Group              string `yaml:"group,omitempty"`
	Version            string `yaml:"version,omitempty"`
	Kind               string `yaml:"kind,omitempty"`
	Name               string `yaml:"name,omitempty"`
	Namespace          string `yaml:"namespace,omitempty"`
	LabelSelector      string `yaml:"labelSelector,omitempty"`
	AnnotationSelector string `yaml:"annotationSelector,omitempty"`
}

// Origin names where the manifest comes from: an address, and after # a folder.
func (b *Build) Origin() string {
	if b.Source.Folder == "" {
		return b.Source.URL
	}
	return b.Source.URL + "#" + b.Source.Folder
}

// Remote is what the build has for a name that a kustomization gives, or nil.
func (b *Build) Remote(name string) *BuildSource {
	i := slices.IndexFunc(b.Remotes, func(r BuildSource) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &b.Remotes[i]
}

func (b *Build) normalize() {
	slices.SortFunc(b.Remotes, func(x, y BuildSource) int { return strings.Compare(x.Name, y.Name) })
}

func (b *Build) check(c *checker, at string) {
	c.checkText(at+".builder", b.Builder, true)
	b.Source.check(c, at+".source")
	if len(b.Files) > maxBuildFiles || len(b.Remotes) > maxBuildRemotes || len(b.Patches) > maxBuildPatches {
		c.problem(at, "has more than %d files, %d remotes or %d patches", maxBuildFiles, maxBuildRemotes, maxBuildPatches)
		return
	}
	for i, f := range b.Files {
		c.checkPath(fmt.Sprintf("%s.files[%d]", at, i), f)
	}
	if len(b.Files) > 0 && (b.Source.Folder != "" || !b.Source.Archive) {
		c.problem(at+".files", "goes with an archive, and with no folder")
	}
	for i, r := range b.Remotes {
		p := fmt.Sprintf("%s.remotes[%d]", at, i)
		c.checkText(p+".name", r.Name, true)
		if i > 0 && b.Remotes[i-1].Name >= r.Name {
			c.problem(p+".name", "%q is out of order or repeated", r.Name)
		}
		r.check(c, p)
	}
	if b.Namespace != "" {
		c.checkName(at+".namespace", b.Namespace)
	}
	for i, p := range b.Patches {
		if p.Patch == "" || len(p.Patch) > maxPatch {
			c.problem(fmt.Sprintf("%s.patches[%d].patch", at, i), "has %d bytes, want 1 to %d", len(p.Patch), maxPatch)
		}
	}
}

func (s *BuildSource) check(c *checker, at string) {
	c.checkURL(at+".url", s.URL)
	c.checkDigest(at+".digest", s.Digest)
	c.checkSize(at+".size", s.Size)
	if s.Folder != "" && (!s.Archive || s.Folder != "." && !CleanPath(s.Folder)) {
		c.problem(at+".folder", "%q is not a clean relative path in an archive", s.Folder)
	}
	if s.Commit != "" && !commitRule.MatchString(s.Commit) {
		c.problem(at+".commit", "%q is not 40 hex digits", s.Commit)
	}
}

// FileName is what the source's file is called, for who reads it.
func (s *BuildSource) FileName() string {
	address, _, _ := strings.Cut(s.URL, "?")
	if name := path.Base(address); name != ".." && name != "." && name != "/" {
		return name
	}
	return "file"
}
