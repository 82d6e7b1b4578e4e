package document

import (
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
)

// What says what stands at a Site.
type What int

// What a Site can be.
const (
	Image      What = iota + 1 // an image reference, in one string
	Spread                     // an image reference over several keys: repository, image, version
	Script                     // a shell or Python script
	Argv                       // a command and its arguments
	Address                    // a place from which a controller or kustomize reads
	PullAlways                 // the pull policy Always, beside an image
	Pods                       // the specification of pods
	Setting                    // a key, variable or flag with a value that may make a program call out
	HubAddress                 // the address of a model or of data at a hub: hf://OWNER/NAME
	Definition                 // a custom resource definition
)

// Certainty says how sure it is that an Image or a Spread names an image.
type Certainty int

// From the least certain to the most.
const (
	// Possible: it is an image only if somebody has an image of that name.
	Possible Certainty = iota
	// Likely: a string looks like a reference (an argument, an environment variable,
	// a bare name outside a pod), and somebody should decide.
	Likely
	// Joined: it was put together from neighbouring keys, as operators' own resources
	// spell it. The operator may add to it before it pulls.
	Joined
	// Certain: a container or an `image` key holds a reference.
	Certain
)

// Site is one place in an object that says something an air gap cares for.
type Site struct {
	What     What
	Template string
	Line     int    // within the rendered template, 0 when unknown
	Path     string // spec.containers[0].image

	Ref       string // of an Image, a Spread and a PullAlways, as written
	Certainty Certainty
	// Required is true where the object cannot run unless the reference is an image.
	Required bool
	// Kept is true for a reference over several keys of a text that stands where
	// its keys cannot be rewritten: in a text within a text, or behind an alias.
	Kept bool

	Manifest bool // in a plain manifest: no chart's values change it

	Text     string         // of a Script, an Address, a Setting or a HubAddress
	Name     string         // of a Setting and a Definition
	Served   []string       // of a Definition: its versions that clients can use, as written
	Stored   string         // of a Definition: the version in which objects are kept
	Group    string         // of a Setting: the key above it, or the section of its file
	Language Language       // of a Script
	Reader   string         // of an Address: who reads it
	Words    []Word         // of Argv
	Object   map[string]any // Pods of an object that ReadObject read

	lines lines // of a Script
	at    spot
}

// Word is one word of a command.
type Word struct {
	Text  string
	Line  int // of its first line
	lines lines
}

// LineOf is the line of the template that holds the n-th line of a script.
func (s Site) LineOf(n int) int { return s.lines.at(n) }

// LineOf is the line of the template that holds the n-th line of the word, which
// may be a script.
func (w Word) LineOf(n int) int { return w.lines.at(n) }

// Names says whether the site names an image, or may do so.
func (s Site) Names() bool { return s.What == Image || s.What == Spread }

// IsModelAddress says whether the image stands in the address of a model: storageUri:
// oci://REF.
func (s Site) IsModelAddress() bool { return s.What == Image && s.Certainty == Joined }

// Image is the reference that the site names, in its whole form. The error of
// [imageref.Parse] says why what stands there is none.
func (s Site) Image() (imageref.Ref, error) { return imageref.Parse(s.Ref) }

// Bare says whether the reference is a word without host, path, tag and digest,
// which may be no image at all.
func (s Site) Bare() bool { return s.Certainty != Joined && !strings.ContainsAny(s.Ref, "/:@") }

// spot is where a reference stands for somebody who writes.
type spot struct {
	value  *scalar // the string that holds it
	spread spread  // of a Spread
	text   *text   // the outermost string within which it stands, or nil
	line   int     // of text
}
