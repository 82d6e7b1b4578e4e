package document

import (
	"strings"
)

// spread is a reference over several keys of a mapping: {image, version},
// {repository, image, version}, {repository, tag} or {registry, repository, tag}.
type spread struct {
	ref     string
	names   []*scalar // that make the name, in their order
	version *scalar
	host    bool // the first of names is for a host alone
	replace bool // a digest takes the place of the version
}

// spreadOf returns the reference that a mapping spells over several keys; its ref
// is "" where there is none.
func spreadOf(m mapping) spread {
	image, repository := m.own("image"), m.own("repository")
	switch {
	case image != nil && repository != nil:
		version := m.own("version")
		if version == nil || strings.TrimSpace(version.Value) == "" {
			version = m.own("tag")
		}
		return newSpread([]*scalar{repository, image}, version)
	case image != nil && m.word("registry") != "": // how they are joined is not known
		return spread{}
	case image != nil:
		return newSpread([]*scalar{image}, m.ownOf(versionKeys))
	case repository == nil || m.joinParts() == "":
		return spread{}
	}
	if r := m.own("registry"); r != nil && strings.TrimSpace(r.Value) != "" {
		s := newSpread([]*scalar{r, repository}, m.own("tag"))
		s.host = true
		return s
	}
	return newSpread([]*scalar{repository}, m.own("tag"))
}

func newSpread(names []*scalar, version *scalar) spread {
	if version == nil || strings.TrimSpace(version.Value) == "" {
		return spread{}
	}
	var parts []string
	for _, n := range names {
		parts = append(parts, strings.TrimSpace(n.Value))
	}
	last := parts[len(parts)-1]
	if last == "" || len(names) > 1 && strings.ContainsAny(last, ":@") || len(names) == 1 && strings.ContainsAny(afterHost(last), ":@") {
		return spread{}
	}
	ref := joinVersion(strings.Join(parts, "/"), strings.TrimSpace(version.Value))
	if !isPlausible(ref) {
		return spread{}
	}
	return spread{ref: ref, names: names, version: version}
}

// valuesFor gives what each key becomes, so that its reader makes of them ref: the
// name over the keys it was in, and the digest behind the version, which is right
// whether the reader puts a colon before it or, seeing a digest, an at sign. nil
// where ref is not pinned or has too few parts.
func (s spread) valuesFor(ref string) map[*scalar]string {
	name, digest, pinned := strings.Cut(ref, "@")
	if !pinned || ref == s.ref {
		return nil
	}
	version := pinVersion(strings.TrimSpace(s.version.Value), digest)
	if s.replace {
		version = digest
	}
	out := map[*scalar]string{s.version: version}
	if len(s.names) == 1 {
		out[s.names[0]] = name
		return out
	}
	cut := strings.LastIndexByte(name, '/')
	if s.host {
		cut = strings.IndexByte(name, '/')
	}
	if cut < 0 {
		return nil
	}
	out[s.names[0]], out[s.names[1]] = name[:cut], name[cut+1:]
	return out
}

// pinVersion puts the digest behind a version, or in its place where it is one
// itself.
func pinVersion(version, digest string) string {
	if strings.HasPrefix(version, "sha256:") {
		return digest
	}
	tag, _, _ := strings.Cut(version, "@")
	return tag + "@" + digest
}
