package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

// The parts of an SPDX 2.3 document that are used, in the order in which they
// are written.
type spdxDocument struct {
	SPDXVersion       string             `json:"spdxVersion"`
	DataLicense       string             `json:"dataLicense"`
	SPDXID            string             `json:"SPDXID"`
	Name              string             `json:"name"`
	DocumentNamespace string             `json:"documentNamespace"`
	CreationInfo      spdxCreation       `json:"creationInfo"`
	Describes         []string           `json:"documentDescribes"`
	Packages          []spdxPackage      `json:"packages"`
	Relationships     []spdxRelationship `json:"relationships"`
	Licenses          []spdxLicense      `json:"hasExtractedLicensingInfos,omitempty"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
	Comment  string   `json:"comment"`
}

type spdxPackage struct {
	Name             string         `json:"name"`
	SPDXID           string         `json:"SPDXID"`
	VersionInfo      string         `json:"versionInfo,omitempty"`
	DownloadLocation string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	Copyright        string         `json:"copyrightText"`
	Purpose          string         `json:"primaryPackagePurpose,omitempty"`
	ExternalRefs     []spdxExternal `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

type spdxLicense struct {
	ID   string `json:"licenseId"`
	Text string `json:"extractedText"`
	Name string `json:"name"`
}

const noAssertion = "NOASSERTION"

// bill builds the SBOM. It is a function of the lock: its name and its time say
// nothing else, the time of making is in the signed statement.
type bill struct {
	doc      spdxDocument
	licenses map[string]bool
	layers   map[imageref.Ref]ocispec.Descriptor // manifests that the lock leaves open
}

// makeSBOM lists what a lock names, as SPDX 2.3 JSON. wrapped is what
// lock.Descriptors takes.
func makeSBOM(l *lock.Lock, lockDigest digest.Digest, wrapped map[imageref.Ref]ocispec.Descriptor) ([]byte, error) {
	b := bill{licenses: map[string]bool{}, layers: wrapped}
	b.doc = spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
		Name:              l.Metadata.Name + "-" + l.Metadata.Version,
		DocumentNamespace: "https://caisson.dev/spdx/" + lockDigest.Encoded(),
		CreationInfo: spdxCreation{
			Created:  "1970-01-01T00:00:00Z",
			Creators: []string{"Tool: caisson"},
			Comment:  "Derived from the lock " + string(lockDigest) + " alone; the bundle's signed statement says when it was packed.",
		},
		Describes: []string{bundleID},
	}
	b.addPackage(spdxPackage{
		Name: l.Metadata.Name, SPDXID: bundleID, VersionInfo: l.Metadata.Version,
		DownloadLocation: noAssertion, Purpose: "INSTALL",
	}, "SPDXRef-DOCUMENT", "DESCRIBES")
	for i := range l.Items {
		b.addItem(&l.Items[i])
	}
	return encodeJSON(b.doc)
}

const bundleID = "SPDXRef-bundle"

func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return out.Bytes(), nil
}

func (b *bill) addPackage(p spdxPackage, by, how string) {
	p.Copyright, p.LicenseConcluded = noAssertion, noAssertion
	if p.LicenseDeclared == "" {
		p.LicenseDeclared = noAssertion
	}
	b.doc.Packages = append(b.doc.Packages, p)
	b.doc.Relationships = append(b.doc.Relationships, spdxRelationship{by, how, p.SPDXID})
}

func (b *bill) addItem(it *lock.Item) {
	d := it.Describe(b.rootDigest(it))
	p := spdxPackage{
		Name: d.Name, SPDXID: spdxID(string(it.Kind), string(it.Ref)), VersionInfo: d.Version,
		DownloadLocation: downloadLocation(it.Source), Checksums: sha256sum(d.Checksum),
		Purpose: it.Kind.Info().Purpose, LicenseDeclared: b.declareLicenses(d.Licenses),
	}
	if d.PURL != "" {
		p.ExternalRefs = []spdxExternal{{"PACKAGE-MANAGER", "purl", d.PURL}}
	}
	b.addPackage(p, bundleID, "CONTAINS")
	for _, f := range d.Files {
		b.addPackage(spdxPackage{
			Name: f.Name, SPDXID: spdxID("modelfile", p.SPDXID+"\x00"+f.Name),
			DownloadLocation: p.DownloadLocation, Checksums: sha256sum(f.Digest), Purpose: "FILE",
			LicenseDeclared: b.declareLicenses([]string{f.License}),
		}, p.SPDXID, "CONTAINS")
	}
}

// rootDigest is the digest of the item's manifest.
func (b *bill) rootDigest(it *lock.Item) digest.Digest {
	if d, ok := b.layers[it.Ref]; ok {
		return d.Digest
	}
	return it.Digest
}

// spdxID makes an identifier of the letters that SPDX allows.
func spdxID(kind, unique string) string {
	sum := digest.FromString(unique).Encoded()
	return "SPDXRef-" + kind + "-" + sum[:24]
}

func sha256sum(d digest.Digest) []spdxChecksum {
	if d == "" {
		return nil
	}
	return []spdxChecksum{{"SHA256", d.Encoded()}}
}

// downloadLocation is where the item was downloaded, as far as SPDX knows such names.
func downloadLocation(source string) string {
	scheme, rest, ok := strings.Cut(source, "://")
	if !ok || rest == "" || scheme == "file" {
		return noAssertion
	}
	if scheme == "hf" {
		repository, commit, _ := strings.Cut(rest, "@")
		return "https://huggingface.co/" + repository + "/tree/" + commit
	}
	return source
}

// hubLicenses are the hub's names of licences that SPDX lists.
var hubLicenses = map[string]string{
	"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause",
	"bsd-3-clause": "BSD-3-Clause", "gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only",
	"agpl-3.0": "AGPL-3.0-only", "lgpl-2.1": "LGPL-2.1-only", "lgpl-3.0": "LGPL-3.0-only",
	"mpl-2.0": "MPL-2.0", "isc": "ISC", "unlicense": "Unlicense", "cc0-1.0": "CC0-1.0",
	"cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
	"cdla-permissive-2.0": "CDLA-Permissive-2.0", "ms-pl": "MS-PL", "zlib": "Zlib",
}

// declareLicenses is the SPDX expression of all of some licences. Where a part declares
// none, nothing is said of the whole.
func (b *bill) declareLicenses(names []string) string {
	if len(names) == 0 || slices.Contains(names, "") {
		return noAssertion
	}
	var all []string
	for _, name := range names {
		all = append(all, b.licenseExpression(name))
	}
	return strings.Join(all, " AND ")
}

// licenseExpression is the SPDX expression of a hub's licence name; one that SPDX does not
// list becomes a reference of this document.
func (b *bill) licenseExpression(name string) string {
	if id, ok := hubLicenses[strings.ToLower(name)]; ok {
		return id
	}
	id := "LicenseRef-hub-" + strings.Map(licenseLetter, name)
	if !b.licenses[id] {
		b.licenses[id] = true
		b.doc.Licenses = append(b.doc.Licenses, spdxLicense{ID: id, Name: name, Text: "Named \"" + name + "\" by the model hub."})
		slices.SortFunc(b.doc.Licenses, func(x, y spdxLicense) int { return strings.Compare(x.ID, y.ID) })
	}
	return id
}

func licenseLetter(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
		return r
	}
	return '-'
}
