package lock

import (
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Content is what an item carries, in one of the forms that a lock can write:
// Verbatim, *HelmChart, *HubModel or *RawFile. Each form has a file of its own.
type Content interface {
	written
	carried
	described
}

// written is how content stands in a lock.
type written interface {
	check(c *checker, at string) // reports what is wrong with it
	normalize()
	clone() Content // a copy that normalize may change
}

// carried is what of the content a bundle holds.
type carried interface {
	heads(it *Item) []HeadBlob
	slots(it *Item) []Slot
}

// described is what others say of the content.
type described interface {
	describe(it *Item, d *Description)
	facts() []Fact
}

// wrapper is content without an OCI manifest of its own.
type wrapper interface {
	wrap(layer func(key string) digest.Digest) (manifest, config []byte, err error)
	artifactType() string // of that manifest; "" for none
}

// deferred is wrapped content whose manifest may depend on bytes not yet read.
type deferred interface {
	isPending() bool
	sameAs(other Content) bool
}

// annotated is content that adds to the annotations of its item.
type annotated interface{ annotations() map[string]string }

// Description is what lists, SBOM and report say of an item.
type Description struct {
	Name     string
	Version  string
	Licenses []string      // as the upstream calls them; "" beside others is of a part that declares none
	PURL     string        // its package URL; empty where it has none
	Checksum digest.Digest // of what the upstream gives
	Digest   digest.Digest // by which people know it
	Files    []NamedDigest // parts that have names of their own
	Notes    []string      // what else people should know of it, each a phrase
}

// NamedDigest is one file of an item.
type NamedDigest struct {
	Name    string
	Digest  digest.Digest
	License string // as the upstream calls it
}

// License names the licences that are declared, for people.
func (d *Description) License() string {
	declared := slices.DeleteFunc(slices.Clone(d.Licenses), func(name string) bool { return name == "" })
	return strings.Join(declared, " AND ")
}

// Fact is one thing that packing holds content against.
type Fact struct {
	What string // which part of the item
	Rule string // what it is compared with
	Blob
}

// ruleLock is the rule of content whose digest the lock names.
const ruleLock = "sha256 and size in the lock"

// As gives an item's content as T, where that is what it carries.
func As[T Content](it *Item) (content T, ok bool) {
	content, ok = it.Content.(T)
	return content, ok
}

// Manifests are those that the item carries verbatim from a registry, the root
// first; nil for a wrapped item.
func (it *Item) Manifests() []ImageManifest {
	v, _ := As[Verbatim](it)
	return v
}

// Describe says what the item is. Root is the digest of its manifest, as far as
// it is known.
func (it *Item) Describe(root digest.Digest) Description {
	d := Description{Name: it.Ref.Repository(), Version: it.Ref.Tag(), Checksum: root, Digest: it.Digest}
	if it.Content != nil {
		it.Content.describe(it, &d)
	}
	return d
}

// Facts lists what packing holds the item's content against.
func (it *Item) Facts() []Fact {
	if it.Content == nil {
		return nil
	}
	return it.Content.facts()
}

// Form is one way to write content in a lock: an item's field.
type Form struct {
	Field   string
	About   string  // for the schema
	Content Content // the zero value of the form's type
}

// forms are the fields that say what an item is made of, in the order of a lock.
var forms = []Form{verbatimForm, chartForm, modelForm, fileForm}

// Forms lists the fields that say what an item is made of.
func Forms() []Form { return slices.Clone(forms) }

func formOf(content Content) Form {
	i := slices.IndexFunc(forms, func(f Form) bool { return reflect.TypeOf(f.Content) == reflect.TypeOf(content) })
	return forms[i]
}

// itemFields writes an item: its own fields, then the one of its form.
type itemFields struct {
	plainItem `yaml:",inline"`
	Content   map[string]Content `yaml:",inline"`
}

type plainItem Item

// MarshalYAML writes the content under the field of its form.
func (it Item) MarshalYAML() (any, error) {
	out := itemFields{plainItem: plainItem(it)}
	if it.Content != nil {
		out.Content = map[string]Content{formOf(it.Content).Field: it.Content}
	}
	return out, nil
}

// ExtraNames, NewExtra and KeepExtra make Item a yamlfile.Extended: they read
// its content from the field of its form. An item with several is one that
// Check refuses.
func (it *Item) ExtraNames() []string {
	names := make([]string, len(forms))
	for i, f := range forms {
		names[i] = f.Field
	}
	return names
}

// NewExtra is a pointer to fill with the content of a form.
func (it *Item) NewExtra(field string) any {
	for _, f := range forms {
		if f.Field == field {
			return reflect.New(reflect.TypeOf(f.Content)).Interface()
		}
	}
	return nil
}

// KeepExtra takes what NewExtra made and is filled now. Nothing in it counts as
// absent.
func (it *Item) KeepExtra(filled any) {
	v := reflect.ValueOf(filled).Elem()
	if v.IsNil() {
		return
	}
	if it.Content != nil {
		it.surplus++
		return
	}
	it.Content = v.Interface().(Content)
}
