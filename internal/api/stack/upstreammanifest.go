package stack

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
)

// UpstreamManifest is Kubernetes YAML that a project publishes: one file, or files or a
// kustomization in an archive of its sources.
type UpstreamManifest struct {
	// Name is unique among the component's.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$,maxLength=128"`
	// URL is where the file lies, or the archive (.tar.gz) that kustomize or files stand
	// in. It may be left out where kustomize names a repository.
	URL string `yaml:"url,omitempty" jsonschema:"pattern=^https?://"`
	// SHA256 is the digest of what URL gives, 64 hex digits. That of an archive may also be
	// of the tar that is compressed in it. The lock pins both without it.
	SHA256 string `yaml:"sha256,omitempty" jsonschema:"pattern=^(sha256:)?[0-9a-f]{64}$"`
	// Kustomize is a folder with a kustomization, below the archive's one top folder; without
	// url it is a repository's, as kustomize names it:
	// github.com/OWNER/REPOSITORY//FOLDER?ref=TAG.
	Kustomize string `yaml:"kustomize,omitempty" jsonschema:"example=config/default,example=github.com/acme/web//config/default?ref=v1.2.3"`
	// Files are YAML files below the archive's one top folder, taken as they are in this
	// order; an asterisk stands for anything within one folder.
	Files []string `yaml:"files,omitempty" jsonschema:"example=deploy/*.yaml"`
	// Remotes say where those things come from that kustomizations name outside the
	// archive. What lies on github.com or gitlab.com, or is a file at a URL, needs none.
	Remotes []Remote `yaml:"remotes,omitempty"`
	// Namespace is put into all objects, as kustomize does.
	Namespace string `yaml:"namespace,omitempty" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Patches change what was read, as those of a kustomization do.
	Patches []ManifestPatch `yaml:"patches,omitempty"`
}

// Remote says where something comes from that a kustomization names outside its archive.
type Remote struct {
	// Match is how the kustomization names it, letter by letter.
	Match string `yaml:"match" jsonschema:"required,minLength=1,maxLength=1024"`
	// URL is where an archive (.tar.gz) of it lies, or the file itself.
	URL string `yaml:"url" jsonschema:"required,pattern=^https?://"`
	// Kustomize is the folder in the archive, below its one top folder; what Match has
	// after // where absent.
	Kustomize string `yaml:"kustomize,omitempty"`
}

// ManifestPatch changes objects: a strategic merge patch, or a list of JSON6902 operations.
type ManifestPatch struct {
	// Patch is its text.
	Patch string `yaml:"patch,omitempty"`
	// Path is a file beside the stack that has the text.
	Path string `yaml:"path,omitempty"`
	// Target says which objects are changed; a strategic merge patch may name one itself.
	Target *lock.PatchTarget `yaml:"target,omitempty"`
}

// FileName is what the file is called that it comes to.
func (m *UpstreamManifest) FileName() string {
	if strings.HasSuffix(m.Name, ".yaml") || strings.HasSuffix(m.Name, ".yml") {
		return m.Name
	}
	return m.Name + ".yaml"
}

// Plain says whether the manifest is one file, taken as it is.
func (m *UpstreamManifest) Plain() bool {
	return m.Kustomize == "" && len(m.Files) == 0 && len(m.Patches) == 0 && m.Namespace == ""
}

// Archived says whether it is taken out of an archive.
func (m *UpstreamManifest) Archived() bool { return m.Kustomize != "" || len(m.Files) > 0 }

// Place is where it comes from: the address of the file or archive, and the folder with
// its kustomization.
func (m *UpstreamManifest) Place() (url, folder string) {
	if m.URL != "" || m.Kustomize == "" {
		return m.URL, cleanFolder(m.Kustomize)
	}
	url, folder, _ = RemotePlace(m.Kustomize, false)
	return url, folder
}

// Origin names where it comes from: an address, and after # a folder.
func (m *UpstreamManifest) Origin() string {
	url, folder := m.Place()
	if folder == "" {
		return url
	}
	return url + "#" + folder
}

// Place is where the thing comes from that a kustomization names.
func (r *Remote) Place() (url, folder string) {
	if r.Kustomize != "" {
		return r.URL, cleanFolder(r.Kustomize)
	}
	if ref, err := ParseGitReference(r.Match); err == nil && !isFileURL(r.Match, false) {
		return r.URL, cmp.Or(ref.Folder, ".")
	}
	return r.URL, ""
}

// cleanFolder is the shortest form of a folder's path; that of the top folder is ".", and
// none stays "".
func cleanFolder(folder string) string {
	if folder == "" {
		return ""
	}
	return path.Clean(strings.TrimPrefix(folder, "./"))
}

func (c *checker) checkUpstreamManifest(at string, m *UpstreamManifest) {
	c.checkFileName(at+".name", m.Name, maxFileName)
	if m.SHA256 != "" && !sha256Rule.MatchString(m.SHA256) {
		c.doc.Problemf(at+".sha256", "%q is not 64 lower-case hex digits", m.SHA256)
	}
	if m.Namespace != "" {
		c.checkLabel(at+".namespace", m.Namespace, maxLabel)
	}
	c.checkUpstreamPlace(at, m)
	for j, f := range m.Files {
		if _, err := path.Match(f, ""); err != nil || !lock.CleanPath(strings.TrimPrefix(f, "./")) {
			c.doc.Problemf(fmt.Sprintf("%s.files[%d]", at, j), "%q is not a path below the archive's top folder", f)
		}
	}
	for j, r := range m.Remotes {
		c.checkRemote(fmt.Sprintf("%s.remotes[%d]", at, j), r)
	}
	for j, p := range m.Patches {
		c.checkPatch(fmt.Sprintf("%s.patches[%d]", at, j), p)
	}
}

// checkUpstreamPlace checks where the manifest comes from.
func (c *checker) checkUpstreamPlace(at string, m *UpstreamManifest) {
	if m.URL != "" {
		c.checkAddress(at+".url", m.URL, "https:// or http://")
	}
	switch {
	case m.Kustomize != "" && len(m.Files) > 0:
		c.doc.Problemf(at+".files", "does not go with kustomize: a kustomization lists its files itself")
	case len(m.Remotes) > 0 && m.Kustomize == "":
		c.doc.Problemf(at+".remotes", "goes with kustomize")
	case m.URL != "":
		if m.Kustomize != "" {
			c.checkFolder(at+".kustomize", m.Kustomize)
		}
	case m.Kustomize == "":
		c.doc.Missing(at + ".url")
	default:
		if ref, err := ParseGitReference(m.Kustomize); err != nil || ref.Archive() == "" {
			c.doc.Problemf(at+".kustomize",
				"%q needs url beside it, or names a repository: github.com/OWNER/REPOSITORY//FOLDER?ref=TAG", m.Kustomize)
		}
	}
}

func (c *checker) checkRemote(at string, r Remote) {
	c.checkOneLine(at+".match", r.Match)
	if c.requireGiven(at+".url", r.URL) {
		c.checkAddress(at+".url", r.URL, "https:// or http://")
	}
	if r.Kustomize != "" {
		c.checkFolder(at+".kustomize", r.Kustomize)
	}
}

func (c *checker) checkPatch(at string, p ManifestPatch) {
	switch {
	case p.Patch != "" && p.Path != "":
		c.doc.Problemf(at+".path", "does not go with patch: give the one or the other")
	case p.Path != "":
		c.checkLocalFile(at+".path", p.Path)
	default:
		c.requireGiven(at+".patch", strings.TrimSpace(p.Patch))
	}
	if p.Target != nil && *p.Target == (lock.PatchTarget{}) {
		c.doc.Problemf(at+".target", "names nothing; give its kind and name, or leave it out")
	}
}

// checkFolder wants a path below an archive's top folder, which is ".".
func (c *checker) checkFolder(at, s string) {
	if s != "." && !lock.CleanPath(cleanFolder(s)) {
		c.doc.Problemf(at, "%q is not a folder below the archive's top folder", s)
	}
}

// mergeUpstreamManifests is base with what own says otherwise. A digest goes with its URL,
// and a repository takes the URL's place.
func mergeUpstreamManifests(base, own UpstreamManifest) UpstreamManifest {
	out := base
	_, err := ParseGitReference(own.Kustomize)
	if own.URL != "" || err == nil {
		out.URL, out.SHA256 = own.URL, ""
	}
	if own.SHA256 != "" {
		out.SHA256 = own.SHA256
	}
	if own.Kustomize != "" {
		out.Kustomize, out.Files = own.Kustomize, nil
	}
	if len(own.Files) > 0 {
		out.Files, out.Kustomize = own.Files, ""
	}
	if own.Namespace != "" {
		out.Namespace = own.Namespace
	}
	out.Remotes = mergeRemotes(base.Remotes, own.Remotes)
	out.Patches = slices.Concat(base.Patches, own.Patches)
	return out
}

// mergeRemotes are those of own, and those of base that own does not name otherwise.
func mergeRemotes(base, own []Remote) []Remote {
	out := slices.Clone(own)
	for _, b := range base {
		if !slices.ContainsFunc(own, func(o Remote) bool { return o.Match == b.Match }) {
			out = append(out, b)
		}
	}
	return out
}
