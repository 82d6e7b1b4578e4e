package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// forgery is a head in the making, each part of which a test can change before
// digests and headers are made to fit: what an attacker would do.
type forgery struct {
	config   string
	lock     string
	table    string
	blocks   []byte
	metas    [][]byte
	entries  []ocispec.Descriptor
	manifest func(*ocispec.Manifest)
	index    func(*ocispec.Index)
	text     func([]byte) []byte // index.json at last
	raw      func([]byte) []byte // the head at last
}

// newForgery is a valid head of one image with one layer of two blocks.
func newForgery() *forgery {
	f := newFixture("demo", BlockSize+3)
	t := Table{blobs: []proof{{digest: sumOf(f.bytes(0)), size: f.sizes[0]}}}
	t.layout, _ = newLayout(mib, 1, func(int) int64 { return f.sizes[0] })
	var b bytes.Buffer
	_ = t.writeTo(&b)
	return &forgery{
		config:   `{"formatVersion":1,"name":"demo","version":"1","complete":true}`,
		lock:     "lock\n",
		table:    b.String(),
		blocks:   make([]byte, 32),
		metas:    f.metas,
		entries:  f.entries,
		manifest: func(*ocispec.Manifest) {},
		index:    func(*ocispec.Index) {},
		text:     func(b []byte) []byte { return b },
		raw:      func(b []byte) []byte { return b },
	}
}

func (f *forgery) bytes() []byte {
	b := newHeadBuilder()
	for _, m := range f.metas {
		b.addBlob(m)
	}
	add := func(mediaType, s string) ocispec.Descriptor {
		b.addBlob([]byte(s))
		return describe(mediaType, []byte(s))
	}
	m := newBundleManifest(add(MediaTypeConfig, f.config), []ocispec.Descriptor{
		add(MediaTypeLock, f.lock), add(MediaTypeTable, f.table), add(MediaTypeBlocks, string(f.blocks)),
	})
	f.manifest(&m)
	text, _ := canonicalJSON(m)
	d := add(ocispec.MediaTypeImageManifest, string(text))
	d.ArtifactType = MediaTypeBundle
	d.Annotations = map[string]string{ocispec.AnnotationRefName: "bundle.caisson.dev/demo:1", AnnotationKind: KindBundle}
	index := newIndex(append(append([]ocispec.Descriptor{}, f.entries...), d))
	f.index(&index)
	text, _ = canonicalJSON(index)
	var out bytes.Buffer
	_ = b.writeHead(&out, f.text(text))
	return f.raw(out.Bytes())
}

func (f *forgery) parse() (*Bundle, error) {
	b := f.bytes()
	return parseBundle(bytes.NewReader(b), int64(len(b)))
}

// image adds a manifest text under a reference.
func (f *forgery) image(mediaType, text string) {
	d := describe(mediaType, []byte(text))
	d.Annotations = map[string]string{ocispec.AnnotationRefName: fmt.Sprintf("registry.example/forged:%d", len(f.entries))}
	f.metas, f.entries = append(f.metas, []byte(text)), append(f.entries, d)
}

func TestForgeryIsValidToBeginWith(t *testing.T) {
	if _, err := newForgery().parse(); err != nil {
		t.Fatal(err)
	}
}

func TestHostileHeads(t *testing.T) {
	layer := string(newFixture("demo", BlockSize+3).slots[0].Digest)
	config := digest.FromBytes(newFixture("demo", BlockSize+3).metas[0]).String()
	link := func(mediaType, d string, size int) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d, size)
	}
	configLink := link(ocispec.MediaTypeImageConfig, config, len(newFixture("demo", BlockSize+3).metas[0]))
	for what, c := range map[string]struct {
		change func(*forgery)
		want   error
	}{
		"later format":         {func(f *forgery) { f.config = `{"formatVersion":2,"whatever":[]}` }, ErrVersion},
		"delta":                {func(f *forgery) { f.config = strings.Replace(f.config, "true", "false", 1) }, ErrDelta},
		"delta with parent":    {func(f *forgery) { f.config = f.config[:len(f.config)-1] + `,"parent":"` + layer + `"}` }, ErrDelta},
		"entry from the base":  {func(f *forgery) { f.table = strings.Replace(f.table, `"here"`, `"base"`, 1) }, ErrDelta},
		"entry from a recipe":  {func(f *forgery) { f.table = strings.Replace(f.table, `"here"`, `"recipe"`, 1) }, ErrDelta},
		"later table":          {func(f *forgery) { f.table = strings.Replace(f.table, `"formatVersion":1`, `"formatVersion":3`, 1) }, ErrVersion},
		"unknown where":        {func(f *forgery) { f.table = strings.Replace(f.table, `"here"`, `"there"`, 1) }, ErrFormat},
		"config with more":     {func(f *forgery) { f.config = f.config[:len(f.config)-1] + `,"x":1}` }, ErrFormat},
		"config twice":         {func(f *forgery) { f.config = f.config[:len(f.config)-1] + `,"name":"other"}` }, ErrFormat},
		"config of other case": {func(f *forgery) { f.config = strings.Replace(f.config, "name", "Name", 1) }, ErrFormat},
		"config not JSON":      {func(f *forgery) { f.config = "{" }, ErrFormat},
		"offset shifted":       {func(f *forgery) { f.table = strings.Replace(f.table, `"offset":512`, `"offset":1024`, 1) }, ErrFormat},
		"block size":           {func(f *forgery) { f.table = strings.Replace(f.table, `4194304,"vol`, `4194305,"vol`, 1) }, ErrFormat},
		"volume size odd":      {func(f *forgery) { f.table = strings.Replace(f.table, `1048576`, `1048577`, 1) }, ErrFormat},
		"volume size zero":     {func(f *forgery) { f.table = strings.Replace(f.table, `:1048576`, `:0`, 1) }, ErrFormat},
		"stream size":          {func(f *forgery) { f.table = strings.Replace(f.table, `"streamSize":4`, `"streamSize":5`, 1) }, ErrFormat},
		"leading zero":         {func(f *forgery) { f.table = strings.Replace(f.table, `"offset":512`, `"offset":0512`, 1) }, ErrFormat},
		"table with more":      {func(f *forgery) { f.table += "\n" }, ErrFormat},
		"table cut":            {func(f *forgery) { f.table = f.table[:len(f.table)-9] }, ErrFormat},
		"huge number": {func(f *forgery) {
			f.table = strings.Replace(f.table, `"size":4194307`, `"size":9999999999999999999`, 1)
		}, ErrFormat},
		"check value missing":  {func(f *forgery) { f.blocks = nil }, ErrFormat},
		"check value too many": {func(f *forgery) { f.blocks = make([]byte, 64) }, ErrFormat},
		"check value cut":      {func(f *forgery) { f.blocks = make([]byte, 31) }, ErrFormat},
		"layer order":          {func(f *forgery) { f.manifest = swapLayers }, ErrFormat},
		"layer unknown":        {func(f *forgery) { f.manifest = func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) } }, ErrFormat},
		"no table":             {func(f *forgery) { f.manifest = func(m *ocispec.Manifest) { m.Layers = m.Layers[:1] } }, ErrFormat},
		"size in descriptor":   {func(f *forgery) { f.manifest = func(m *ocispec.Manifest) { m.Layers[0].Size++ } }, ErrFormat},
		"other artifact type":  {func(f *forgery) { f.manifest = func(m *ocispec.Manifest) { m.ArtifactType = "x/y" } }, ErrFormat},
		"nothing refers to it": {func(f *forgery) { f.metas = append(f.metas, []byte("hidden")) }, ErrFormat},
		"dangling manifest":    {func(f *forgery) { f.image(ocispec.MediaTypeImageManifest, "{}"); f.metas = f.metas[:2] }, ErrFormat},
		"dangling layer": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":`+configLink+`,"layers":[`+link(ocispec.MediaTypeImageLayer, layer[:70]+"0", 5)+`]}`)
		}, ErrFormat},
		"layer of other size": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":`+configLink+`,"layers":[`+link(ocispec.MediaTypeImageLayer, layer, 5)+`]}`)
		}, ErrFormat},
		"manifest and index": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":`+configLink+`,"layers":[],"manifests":[]}`)
		}, ErrFormat},
		"index as manifest": {func(f *forgery) { f.image(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"manifests":[]}`) }, ErrFormat},
		"manifest as index": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"config":`+configLink+`,"layers":[]}`)
		}, ErrFormat},
		"says another type": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageManifest+`","manifests":[]}`)
		}, ErrFormat},
		"schema 1": {func(f *forgery) { f.image(ocispec.MediaTypeImageManifest, `{"schemaVersion":1,"fsLayers":[]}`) }, ErrFormat},
		"two types for one": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageIndex, `{"schemaVersion":2}`)
			f.image(mediaTypeDockerList, `{"schemaVersion":2}`)
		}, ErrFormat},
		"unknown type":           {func(f *forgery) { f.image("text/plain", `{}`) }, ErrFormat},
		"sha512":                 {func(f *forgery) { f.entries[0].Digest = digest.Digest("sha512:" + strings.Repeat("a", 128)) }, ErrFormat},
		"path for a digest":      {func(f *forgery) { f.entries[0].Digest = "../../etc/passwd" }, ErrFormat},
		"deep nesting":           {nest, ErrFormat},
		"reference twice":        {func(f *forgery) { f.entries = append(f.entries, f.entries[0]) }, ErrFormat},
		"reference without name": {func(f *forgery) { f.entries[0].Annotations = nil }, ErrFormat},
		"two bundle manifests":   {func(f *forgery) { f.entries[0].Annotations[AnnotationKind] = KindBundle }, ErrFormat},
		"no bundle manifest":     {func(f *forgery) { f.index = func(i *ocispec.Index) { i.Manifests = i.Manifests[:1] } }, ErrFormat},
		"index with subject":     {func(f *forgery) { f.index = func(i *ocispec.Index) { i.Subject = &i.Manifests[0] } }, ErrFormat},
		"index with white space": {func(f *forgery) { f.text = func(b []byte) []byte { return append(b, '\n') } }, ErrFormat},
		"index twice a member": {func(f *forgery) {
			f.text = func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"schemaVersion":2,`), 1) }
		}, ErrFormat},
		"index too rich": {func(f *forgery) { f.text = func(b []byte) []byte { return bytes.Repeat([]byte("[{},"), 200_000) } }, ErrFormat},
		"manifest too rich": {func(f *forgery) {
			f.image(ocispec.MediaTypeImageManifest, `{"layers":[`+strings.Repeat("{},", 300_000)+`{}]}`)
		}, ErrFormat},
		"manifest too large":  {func(f *forgery) { f.image(ocispec.MediaTypeImageManifest, strings.Repeat(" ", MaxMeta+1)) }, ErrFormat},
		"blob here and there": {func(f *forgery) { f.metas = append(f.metas, newFixture("demo", BlockSize+3).bytes(0)) }, ErrDuplicate},
	} {
		f := newForgery()
		f.entries[0].Annotations = map[string]string{ocispec.AnnotationRefName: "registry.example/app:1"}
		c.change(f)
		if _, err := f.parse(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func swapLayers(m *ocispec.Manifest) { m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0] }

// nest wraps an index into an index, too often.
func nest(f *forgery) {
	text := `{"schemaVersion":2,"manifests":[]}`
	for range maxDepth + 2 {
		f.metas = append(f.metas, []byte(text))
		d, _ := json.Marshal(describe(ocispec.MediaTypeImageIndex, []byte(text)))
		text = `{"schemaVersion":2,"manifests":[` + string(d) + `]}`
	}
	f.image(ocispec.MediaTypeImageIndex, text)
}

func TestHostileArchives(t *testing.T) {
	good := newForgery().bytes()
	entry := func(name string, body string) []byte {
		var b bytes.Buffer
		_ = writeEntry(&b, name, headContent{int64(len(body)), func(w io.Writer) error { _, err := io.WriteString(w, body); return err }})
		return b.Bytes()
	}
	first := len(entry("oci-layout", layoutFile))
	indexEnd := first + int(entrySizeAt(good, first))
	insert := func(at int, what []byte) []byte { return append(append(bytes.Clone(good[:at]), what...), good[at:]...) }
	forge := func(change func(*header)) []byte {
		b := bytes.Clone(good)
		h := (*header)(b[indexEnd:])
		change(h)
		copy(h[148:], fmt.Sprintf("%06o\x00 ", h.checksum()))
		return b
	}
	for what, b := range map[string][]byte{
		"empty":                  {},
		"half a header":          good[:300],
		"no index":               good[:first],
		"cut at an entry":        good[:indexEnd],
		"end of archive":         append(bytes.Clone(good), make([]byte, 2*sector)...),
		"foreign entry":          insert(indexEnd, entry("README", "hello")),
		"path out":               insert(indexEnd, entry("../../etc/cron.d/x", "hello")),
		"absolute path":          insert(indexEnd, entry("/etc/passwd", "hello")),
		"upper case name":        insert(indexEnd, entry("blobs/SHA256/"+sumOf([]byte("a")).hex(), "a")),
		"name is not digest":     insert(indexEnd, entry(blobName(sumOf([]byte("b"))), "a")),
		"blob twice":             insert(indexEnd, good[indexEnd:indexEnd+int(entrySizeAt(good, indexEnd))]),
		"out of order":           append(bytes.Clone(good), entry(blobName(sumOf([]byte("hello"))), "hello")...),
		"index twice":            insert(indexEnd, good[first:indexEnd]),
		"layout after":           insert(0, good[first:indexEnd]),
		"symbolic link":          forge(func(h *header) { h[156] = '2'; copy(h[157:], "/etc/passwd") }),
		"hard link":              forge(func(h *header) { h[156] = '1'; copy(h[157:], "index.json") }),
		"directory":              forge(func(h *header) { h[156] = '5' }),
		"device":                 forge(func(h *header) { h[156] = '3' }),
		"PAX":                    forge(func(h *header) { h[156] = 'x' }),
		"GNU long name":          forge(func(h *header) { h[156] = 'L' }),
		"sparse":                 forge(func(h *header) { h[156] = 'S' }),
		"set user id":            forge(func(h *header) { copy(h[100:], "0004755\x00") }),
		"owner":                  forge(func(h *header) { copy(h[108:], "0000001\x00") }),
		"owner's name":           forge(func(h *header) { copy(h[265:], "root") }),
		"time":                   forge(func(h *header) { copy(h[136:], "00000000001\x00") }),
		"name prefix":            forge(func(h *header) { copy(h[345:], "etc") }),
		"tail of header":         forge(func(h *header) { h[511] = 1 }),
		"small size in base 256": forge(func(h *header) { copy(h[124:136], "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05") }),
		"huge size":              forge(func(h *header) { copy(h[124:136], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") }),
		"negative size":          forge(func(h *header) { copy(h[124:136], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }),
		"size beyond the end":    forge(func(h *header) { copy(h[124:], "00777777777\x00") }),
		"gzip":                   append([]byte("\x1f\x8b"), good[2:]...),
	} {
		if _, err := parseBundle(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := parseBundle(bytes.NewReader(nil), maxHead+sector); !errors.Is(err, ErrFormat) {
		t.Errorf("too large: %v", err)
	}
}

func entrySizeAt(b []byte, at int) int64 {
	var h header
	copy(h[:], b[at:])
	n, _ := h.parseSize()
	return entrySize(n)
}
