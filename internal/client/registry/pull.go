package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/client/fetch"
)

// Media types of Docker's image manifest version 2, schema 2, which are carried
// verbatim beside the OCI ones.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

var acceptManifests = http.Header{"Accept": {strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, DockerList, DockerManifest,
}, ", ")}}

// wrongBytesTries bounds how often content that does not match its digest is
// asked for.
const wrongBytesTries = 3

// Puller reads from upstream registries. It is safe for concurrent use.
type Puller struct {
	client *fetch.Client
	logins *logins
}

// NewPuller makes a puller over c, whose rewrites, limits and retries hold. The
// credentials are those of the Docker configuration and its helpers, looked up
// by the host that is really asked.
func NewPuller(c *fetch.Client) *Puller {
	return &Puller{client: c, logins: newLogins(c.Transport())}
}

// Manifest is a manifest or index as the registry holds it.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Bytes     []byte
}

// IsManifest says whether a media type is one of a manifest or an index.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, DockerList, DockerManifest:
		return true
	}
	return false
}

// Index says whether m lists other manifests.
func (m Manifest) Index() bool {
	return m.MediaType == ocispec.MediaTypeImageIndex || m.MediaType == DockerList
}

// Resolve reads what ref names: HOST/REPOSITORY:TAG, @DIGEST, or both, in which
// case the digest alone counts. Errors: ErrNotFound, ErrDigest, ErrAmbiguous,
// ErrMediaType, ErrReference, and those of fetch.
func (p *Puller) Resolve(ctx context.Context, ref imageref.Ref) (Manifest, error) {
	if !ref.Valid() || ref.Tag() == "" && ref.Digest() == "" {
		return Manifest{}, fmt.Errorf("%w: %q is not HOST/REPOSITORY:TAG or @DIGEST", ErrReference, ref)
	}
	if dg := ref.Digest(); dg != "" {
		return p.Manifest(ctx, ref.Repository(), dg)
	}
	return p.fetchManifest(ctx, ref.Repository(), ref.Tag(), "")
}

// Manifest reads one manifest by its digest from a repository (HOST/PATH).
func (p *Puller) Manifest(ctx context.Context, repository string, dg digest.Digest) (Manifest, error) {
	dg, err := checkDigest(dg)
	if err != nil {
		return Manifest{}, err
	}
	return p.fetchManifest(ctx, repository, string(dg), dg)
}

func (p *Puller) fetchManifest(ctx context.Context, repository, reference string, want digest.Digest) (Manifest, error) {
	what := repository + ":" + reference
	if want != "" {
		what = repository + "@" + reference
	}
	data, header, err := p.readChecked(ctx, repository, "manifests", reference, want, -1)
	if err != nil {
		return Manifest{}, fmt.Errorf("reading manifest %s: %w", what, err)
	}
	kind, err := manifestType(header.Get("Content-Type"), data)
	if err != nil {
		return Manifest{}, fmt.Errorf("reading manifest %s: %w", what, err)
	}
	return Manifest{Digest: digest.FromBytes(data), MediaType: kind, Bytes: data}, nil
}

// Blob reads a blob of at most MaxManifest bytes whole.
func (p *Puller) Blob(ctx context.Context, repository string, dg digest.Digest, size int64) ([]byte, error) {
	dg, err := checkDigest(dg)
	if err != nil {
		return nil, err
	}
	data, _, err := p.readChecked(ctx, repository, "blobs", string(dg), dg, size)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s@%s: %w", repository, dg, err)
	}
	return data, nil
}

// BlobRequest prepares fetching a blob of any size: what it returns is for
// fetch.Client.Stream. The bytes are unchecked.
func (p *Puller) BlobRequest(ctx context.Context, repository string, dg digest.Digest, size int64) (fetch.Request, error) {
	dg, err := checkDigest(dg)
	if err != nil {
		return fetch.Request{}, err
	}
	r, err := p.newRequest(ctx, repository, "blobs", string(dg))
	if err != nil {
		return fetch.Request{}, fmt.Errorf("asking for blob %s@%s: %w", repository, dg, err)
	}
	r.Size = size
	return r, nil
}

func (p *Puller) newRequest(ctx context.Context, repository, kind, reference string) (fetch.Request, error) {
	e, err := parseEndpoint(p.client.URL(repository))
	if err != nil {
		return fetch.Request{}, err
	}
	if e.host == "docker.io" {
		e.host = "index.docker.io"
	}
	rt, err := p.logins.roundTripper(ctx, e)
	if err != nil {
		return fetch.Request{}, err
	}
	return fetch.Request{URL: e.url(kind, reference), Direct: true, Size: -1, RoundTripper: rt}, nil
}

// readChecked reads a small document and compares it with want, or with the digest
// that the registry states when want is empty. Wrong bytes are asked for again.
func (p *Puller) readChecked(ctx context.Context, repository, kind, reference string, want digest.Digest, size int64) ([]byte, http.Header, error) {
	r, err := p.newRequest(ctx, repository, kind, reference)
	if err != nil {
		return nil, nil, err
	}
	r.Size = size
	if kind == "manifests" {
		r.Header = acceptManifests
	}
	for try := 1; ; try++ {
		data, header, err := p.client.Read(ctx, r, MaxManifest)
		if err == nil {
			err = compareDigest(data, header, want)
		}
		if err == nil {
			return data, header, nil
		}
		if again := errors.Is(err, ErrDigest) || errors.Is(err, fetch.ErrSize) && size >= 0; !again || try == wrongBytesTries {
			return nil, nil, translateNotFound(err)
		}
	}
}

func compareDigest(data []byte, header http.Header, want digest.Digest) error {
	got := digest.FromBytes(data)
	if want != "" && got != want {
		return fmt.Errorf("%w: it is %s", ErrDigest, got)
	}
	if stated := header.Get("Docker-Content-Digest"); want == "" && strings.HasPrefix(stated, "sha256:") && stated != string(got) {
		return fmt.Errorf("%w: it states %s and sends %s", ErrDigest, stated, got)
	}
	return nil
}

// translateNotFound makes a 404 ErrNotFound; the message keeps the answer.
func translateNotFound(err error) error {
	if status := new(fetch.StatusError); errors.As(err, &status) && status.Status == http.StatusNotFound {
		return fmt.Errorf("%w: %v", ErrNotFound, err)
	}
	return err
}

// Limits of a referrers listing.
const (
	maxReferrerPages = 16
	maxReferrers     = 1000
)

// Referrers lists what refers to dg: by the referrers API, or, where a registry
// lacks it, by the fallback tag, whose index is then returned as well (nil when
// there is no such tag). The descriptors are as the registry tells them.
func (p *Puller) Referrers(ctx context.Context, repository string, dg digest.Digest) ([]ocispec.Descriptor, *Manifest, error) {
	dg, err := checkDigest(dg)
	if err != nil {
		return nil, nil, err
	}
	list, supported, err := p.listReferrers(ctx, repository, dg)
	if err != nil {
		return nil, nil, fmt.Errorf("listing referrers of %s@%s: %w", repository, dg, err)
	}
	if supported {
		return list, nil, nil
	}
	return p.fallbackReferrers(ctx, repository, dg)
}

func (p *Puller) fallbackReferrers(ctx context.Context, repository string, dg digest.Digest) ([]ocispec.Descriptor, *Manifest, error) {
	m, err := p.fetchManifest(ctx, repository, FallbackTag(dg), "")
	if errors.Is(err, ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	list, err := parseDescriptors(m.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading referrers tag %s:%s: %w", repository, FallbackTag(dg), err)
	}
	return list, &m, nil
}

// FallbackTag is the tag that lists referrers where the API is missing (OCI
// distribution 1.1, referrers tag schema).
func FallbackTag(dg digest.Digest) string {
	return string(dg.Algorithm()) + "-" + dg.Encoded()
}

func (p *Puller) listReferrers(ctx context.Context, repository string, dg digest.Digest) ([]ocispec.Descriptor, bool, error) {
	r, err := p.newRequest(ctx, repository, "referrers", string(dg))
	if err != nil {
		return nil, false, err
	}
	r.Header = http.Header{"Accept": {ocispec.MediaTypeImageIndex}}
	var all []ocispec.Descriptor
	for page := 0; page < maxReferrerPages; page++ {
		data, header, err := p.client.Read(ctx, r, MaxManifest)
		if page == 0 && lacksReferrers(header, err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		list, err := parseDescriptors(data)
		if err != nil {
			return nil, false, err
		}
		if all = append(all, list...); len(all) > maxReferrers {
			return nil, false, fmt.Errorf("more than %d referrers", maxReferrers)
		}
		next, err := nextPage(r.URL, header.Get("Link"))
		if err != nil || next == "" {
			return all, true, err
		}
		r.URL = next
	}
	return nil, false, fmt.Errorf("more than %d pages", maxReferrerPages)
}

// lacksReferrers recognises registries from before the referrers API: they
// refuse the route, or answer it with something that is no index.
func lacksReferrers(header http.Header, err error) bool {
	if status := new(fetch.StatusError); errors.As(err, &status) {
		switch status.Status {
		case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusNotAcceptable:
			return true
		}
	}
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && kind != ocispec.MediaTypeImageIndex
}

// nextPage reads a Link header (RFC 8288) and refuses one to another host.
func nextPage(current, link string) (string, error) {
	target, params, ok := strings.Cut(link, ">")
	if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(params, `rel="next"`) && !strings.Contains(params, "rel=next") {
		return "", nil
	}
	base, err := url.Parse(current)
	if err != nil {
		return "", err
	}
	next, err := base.Parse(target[1:])
	if err != nil || next.Host != base.Host || next.Scheme != base.Scheme {
		return "", fmt.Errorf("%w: next page", errRedirected)
	}
	return next.String(), nil
}

func parseDescriptors(data []byte) ([]ocispec.Descriptor, error) {
	if _, err := manifestType(ocispec.MediaTypeImageIndex, data); err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMediaType, err)
	}
	for _, d := range index.Manifests {
		if _, err := checkDigest(d.Digest); err != nil {
			return nil, err
		}
		if d.Size < 0 {
			return nil, fmt.Errorf("%w: negative size of %s", ErrMediaType, d.Digest)
		}
	}
	return index.Manifests, nil
}

// CosignTags reads the tags under which cosign keeps signatures (.sig),
// attestations (.att) and SBOMs (.sbom) of dg; absent ones are left out.
func (p *Puller) CosignTags(ctx context.Context, repository string, dg digest.Digest) (map[string]Manifest, error) {
	dg, err := checkDigest(dg)
	if err != nil {
		return nil, err
	}
	found := map[string]Manifest{}
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		tag := FallbackTag(dg) + suffix
		m, err := p.fetchManifest(ctx, repository, tag, "")
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[tag] = m
	}
	return found, nil
}

// shape is what decides how a manifest is read.
type shape struct {
	MediaType     string
	SchemaVersion int
	Manifests     bool
	Layers        bool
	Config        bool
	FSLayers      bool
}

// manifestType settles what a document is. The header, the document's own
// mediaType and its fields must agree, so that no two readers can take it for
// different things (CVE-2021-41190).
func manifestType(header string, data []byte) (string, error) {
	s, err := readShape(data)
	if err != nil {
		return "", err
	}
	if s.Manifests && (s.Layers || s.Config || s.FSLayers) {
		return "", fmt.Errorf("%w: it has both manifests and layers", ErrAmbiguous)
	}
	kind := statedType(header)
	switch {
	case kind == "":
		kind = s.MediaType
	case s.MediaType != "" && s.MediaType != kind:
		return "", fmt.Errorf("%w: sent as %q, says %q", ErrAmbiguous, kind, s.MediaType)
	}
	if kind == "" {
		kind = s.guessType()
	}
	return kind, s.checkType(kind)
}

// statedType is the media type of a Content-Type header, unless it is one of those
// that say nothing.
func statedType(header string) string {
	kind, _, err := mime.ParseMediaType(header)
	if err != nil {
		return ""
	}
	switch kind {
	case "application/json", "application/octet-stream", "text/plain":
		return ""
	}
	return kind
}

func (s shape) guessType() string {
	if s.Manifests {
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

func (s shape) checkType(kind string) error {
	if s.SchemaVersion != 2 || s.FSLayers {
		return fmt.Errorf("%w: schema version %d", ErrMediaType, s.SchemaVersion)
	}
	switch kind {
	case ocispec.MediaTypeImageIndex, DockerList:
		if !s.Manifests {
			return fmt.Errorf("%w: an index without manifests", ErrAmbiguous)
		}
	case ocispec.MediaTypeImageManifest, DockerManifest:
		if !s.Config || s.Manifests {
			return fmt.Errorf("%w: an image manifest without config", ErrAmbiguous)
		}
	default:
		return fmt.Errorf("%w: %q", ErrMediaType, kind)
	}
	return nil
}

// readShape reads the top level with exact, unrepeated keys: encoding/json alone
// would take "Layers" for "layers" and the last of two.
func readShape(data []byte) (shape, error) {
	var s shape
	bad := func(err error) (shape, error) { return s, fmt.Errorf("%w: %v", ErrMediaType, err) }
	fields, err := topLevel(data)
	if err != nil {
		return bad(err)
	}
	if err := unmarshalOptional(fields["mediaType"], &s.MediaType); err != nil {
		return bad(err)
	}
	if err := unmarshalOptional(fields["schemaVersion"], &s.SchemaVersion); err != nil {
		return bad(err)
	}
	s.Manifests, s.Layers = isPresent(fields["manifests"]), isPresent(fields["layers"])
	s.Config, s.FSLayers = isPresent(fields["config"]), isPresent(fields["fsLayers"])
	return s, nil
}

func unmarshalOptional(raw json.RawMessage, v any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, v)
}

func isPresent(raw json.RawMessage) bool { return raw != nil && string(raw) != "null" }

// decisive are the keys that say what a manifest is, by their lower case.
var decisive = map[string]string{
	"mediatype": "mediaType", "schemaversion": "schemaVersion", "fslayers": "fsLayers",
	"manifests": "manifests", "layers": "layers", "config": "config",
}

func topLevel(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	fields, folded := map[string]json.RawMessage{}, map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		k, _ := key.(string)
		lower := strings.ToLower(k)
		if want, ok := decisive[lower]; folded[lower] || ok && k != want {
			return nil, fmt.Errorf("key %q occurs twice or in another case", k)
		}
		folded[lower] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		fields[k] = raw
	}
	return fields, atEnd(dec)
}

func atEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more after the JSON object")
	}
	return nil
}
