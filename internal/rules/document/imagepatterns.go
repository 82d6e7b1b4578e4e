package document

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxReference bounds an image reference, in bytes.
const maxReference = 512

// The reference grammar of the OCI distribution specification ("Pull", with
// Docker's host and short-name rules before it).
const (
	hostPattern = `(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?)`
	partPattern = `[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*`
	namePattern = partPattern + `(?:/` + partPattern + `)*`
	endPattern  = `(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?`
)

var (
	anyReference = regexp.MustCompile(`^(?:` + hostPattern + `/)?` + namePattern + endPattern + `$`)
	// a host with a dot or port, a path, and a tag or digest
	completeReference = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]*(?:(?:\.[a-zA-Z0-9-]+)+(?::[0-9]{1,5})?|:[0-9]{1,5})` +
		`/[^:@]+(?::[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})+$`)
	hostPort = regexp.MustCompile(`^[^/@]+:[0-9]+$`)
	bareHost = regexp.MustCompile(`^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]{1,5})?$`)
	// a line of text that is no YAML, with a key that says image
	imageLine = regexp.MustCompile(`^\s*(?:-\s*)?["']?([\w.-]*(?i:image)[\w.-]*)["']?\s*[:=]\s*["']?([^\s"',]+)["']?,?\s*$`)
	// names of variables, flags and keys that hold an image
	imageName = regexp.MustCompile(`(?i)image`)
	// what such names end in when they hold something else
	notImageName = regexp.MustCompile(`(?i)(policy|secrets?|registry|repository|repo|prefix|path|dir|size|type|tag|version|` +
		`uri|url|format|digest|sha|gc[a-z-]*|timeout|enabled)$`)
)

// An image's name without tag and digest is told from other names with a host by
// the name that it stands under, and by its form.
var (
	// a host with a dot or port, and a path
	untaggedReference = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(?:(?:\.[a-z0-9-]+)+(?::[0-9]{1,5})?|:[0-9]{1,5})((?:/` + partPattern + `)+)$`)
	// what names that speak of images end in when a part of a name stands there
	partOfImageName = regexp.MustCompile(`(?i)(host|hub|mirrors?|namespace|org|organi[sz]ation|owner|project|group|server|domain|endpoint|service|` +
		`bucket|store|address|source|base|root|patterns?|regex|glob|annotations?|labels?|resource|class|field|key|domain|scan[a-z]*|` +
		`allow[a-z]*|den(y|ied)[a-z]*|block[a-z]*|ignore[a-z]*|exclude[a-z]*|include[a-z]*|prefixes|registries|repositories|credentials?)$`)
	// hosts of registries, as opposed to the domains of resources and annotations
	registryHost = regexp.MustCompile(`(?i)registry|docker|harbor|quay|gcr\.|\bg?h?cr\.|ecr\.|acr\.|\.cr\.|:[0-9]+$`)
)

// isUntaggedImage says whether ref, under a name, is an image of which neither tag
// nor digest is given: ghcr.io/acme/web. With one word behind the host, the host
// must be that of a registry: nvidia.com/gpu is a resource.
func isUntaggedImage(name, ref string) bool {
	m := untaggedReference.FindStringSubmatch(ref)
	if m == nil || !namesImage(name) || partOfImageName.MatchString(name) || !isPlausible(ref) {
		return false
	}
	host, _, _ := strings.Cut(ref, "/")
	return strings.Count(m[1], "/") > 1 || registryHost.MatchString(host)
}

// tagStem is the name of a tag without the ending that says so.
func tagStem(name string) (string, bool) {
	name = plainName(name)
	if stem, ok := strings.CutSuffix(name, "tag"); ok {
		return stem, true
	}
	return strings.CutSuffix(name, "version")
}

// imageStems are what the name of the tag that goes with an image begins with:
// cacheImageTag or CACHE_TAG with cacheImage, tag with imageName.
func imageStems(image string) []string {
	stem := plainName(image)
	bare := strings.TrimSuffix(strings.TrimSuffix(stem, "name"), "image")
	return []string{stem, bare, bare + "image"}
}

// tags are values by the stems of the names that they stand under, the first of each.
type tags map[string]tag

type tag struct {
	at    int
	value string
}

func (t tags) add(at int, name, value string) {
	stem, ok := tagStem(name)
	if _, known := t[stem]; ok && !known {
		t[stem] = tag{at, value}
	}
}

// of is the first value under the name of a tag that goes with an image's name.
func (t tags) of(image string) string {
	first := tag{at: -1}
	for _, stem := range imageStems(image) {
		if found, ok := t[stem]; ok && (first.at < 0 || found.at < first.at) {
			first = found
		}
	}
	return first.value
}

// plainName is a name in lower case, without what parts its words.
func plainName(name string) string { return strings.ToLower(nameParts.Replace(name)) }

var nameParts = strings.NewReplacer("_", "", "-", "", ".", "")

var pictureFile = map[string]bool{
	".png": true, ".svg": true, ".jpg": true, ".jpeg": true, ".gif": true, ".webp": true, ".ico": true, ".iso": true, ".img": true, ".qcow2": true,
}

// isPlausible says whether ref has the form of an image reference and is not
// obviously the name of a file.
func isPlausible(ref string) bool {
	return len(ref) <= maxReference && anyReference.MatchString(ref) && !pictureFile[path.Ext(ref)]
}

// isComplete says whether ref is an image reference with a host and with a tag or
// a digest, which hardly anything else is.
func isComplete(ref string) bool {
	return len(ref) <= maxReference && completeReference.MatchString(ref) && isPlausible(ref)
}

// namesImage says whether something of that name holds an image.
func namesImage(name string) bool {
	return imageName.MatchString(name) && !notImageName.MatchString(name)
}

// isNamedImage says whether ref, under a name that holds an image, is one although
// it has no host: it has a tag or digest, and is no HOST:PORT.
func isNamedImage(ref string) bool {
	if len(ref) > maxReference || !strings.ContainsAny(ref, ":@") || !isPlausible(ref) {
		return false
	}
	return !hostPort.MatchString(ref) || !strings.Contains(ref, ".")
}

// joinVersion puts a tag or a digest behind a name.
func joinVersion(name, version string) string {
	switch {
	case version == "":
		return name
	case strings.HasPrefix(version, "sha256:"):
		return name + "@" + version
	}
	return name + ":" + version
}

// afterHost is what follows the first slash of a reference, or all of it.
func afterHost(ref string) string {
	_, rest, ok := strings.Cut(ref, "/")
	if !ok {
		return ref
	}
	return rest
}

// versionKeys stand beside `image` in configurations; their value is its tag.
var versionKeys = []string{"version", "tag", "defaultImageVersion", "imageTag", "imageVersion"}

// joinParts joins {repository: HOST/NAME, tag: T} or {registry: HOST, repository:
// NAME, tag: T}; "" where they make no complete reference.
func (m mapping) joinParts() string {
	repository, registry, tag := m.word("repository"), m.word("registry"), m.word("tag")
	if repository == "" || tag == "" || m.word("image") != "" || strings.Contains(tag, "@") {
		return ""
	}
	if strings.ContainsAny(repository, ":@") && !strings.Contains(repository, "/") {
		return ""
	}
	name := repository
	if registry != "" {
		if host, _, _ := strings.Cut(registry, "/"); !bareHost.MatchString(host) {
			return ""
		}
		name = registry + "/" + repository
	}
	ref := joinVersion(name, tag)
	if !isComplete(ref) {
		return ""
	}
	return ref
}

// joinRepository joins repository, image and version or tag. versioned is false
// where there is neither.
func (m mapping) joinRepository(image string) (ref string, versioned bool) {
	version := m.word("version")
	if version == "" {
		version = m.word("tag")
	}
	return joinVersion(m.word("repository")+"/"+image, version), version != ""
}

// joinHub joins the name of an image with the registry and the tag that hold for all
// images of a configuration, and stand somewhere above it; "" where they do not.
func (w *walker) joinHub(image string) string {
	for i := len(w.maps) - 2; i >= 0; i-- {
		h := w.hubIn(w.maps[i])
		if h.registry == "" || h.tag == "" {
			continue
		}
		if ref := joinVersion(h.registry+"/"+image, h.tag); isComplete(ref) {
			return ref
		}
	}
	return ""
}

// hub is a registry and a tag that hold for all images below a mapping.
type hub struct{ registry, tag string }

// hubIn is what a mapping says of a hub. It is read once, however many images are below.
func (w *walker) hubIn(m mapping) hub {
	if known, ok := w.hubs[m.node]; ok {
		return known
	}
	registry := cmp.Or(m.word("hub"), m.word("registry"), m.word("imageRegistry"), m.word("imageHub"))
	found := hub{strings.TrimSuffix(registry, "/"), cmp.Or(m.word("tag"), m.word("imageTag"))}
	if w.hubs == nil {
		w.hubs = map[*yaml.Node]hub{}
	}
	w.hubs[m.node] = found
	return found
}

// afterFlagName is what a flag is given with =, or the word itself.
func afterFlagName(word string) string {
	if strings.HasPrefix(word, "-") {
		_, word, _ = strings.Cut(word, "=")
	}
	return strings.TrimSpace(word)
}

// joinBeside joins image and a version beside it, as configurations spell it; ""
// where image has its own tag or there is no version.
func (m mapping) joinBeside(image string) string {
	if strings.ContainsAny(afterHost(image), ":@") {
		return ""
	}
	i := slices.IndexFunc(versionKeys, func(k string) bool { return m.word(k) != "" })
	if i < 0 {
		return ""
	}
	return joinVersion(image, m.word(versionKeys[i]))
}
