// Package lint finds what rendered objects would fetch from outside a closed
// site: commands that download, remote resources, images that nobody carries,
// pull policies that ask a registry each time.
//
// It reads the sites that package document finds and returns findings; deciding which
// of them are accepted is Settle's, by rules that a stack gives with a reason.
// It never renders, runs or fetches anything, and where it cannot tell it says
// nothing.
package lint

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/document"
)

// Bounds.
const (
	MaxFindings = 1000 // of one Check; one more says how many were left out
	maxExcerpt  = 160  // bytes of Finding.Text
)

var commitRule = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Finding is one thing that would call out.
type Finding struct {
	Code     string
	Warning  bool // somebody should look; nothing fails for it
	Template string
	Line     int    // 0 where unknown
	Manifest bool   // it stands in a plain manifest, which no values change
	Model    string // of a hub that is named: OWNER/NAME in lower case
	Computed bool   // Text is an image whose name an operator puts together, and may add to
	Others   int    // places that name the same image, see MergeImages
	Text     string // what stands there, at most 160 bytes of printable text
	What     string // one sentence, without the place
	Why      string
	Fix      string
}

// Place is TEMPLATE:LINE, or TEMPLATE.
func (f Finding) Place() string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d", f.Template, f.Line)
	}
	return f.Template
}

// Places is Place, and how many more name the same image.
func (f Finding) Places() string {
	if f.Others == 0 {
		return f.Place()
	}
	return fmt.Sprintf("%s (and %s)", f.Place(), listing.More(f.Others, "place"))
}

// Advice is what settles the finding; stack is what to call the file in which it
// can be accepted.
func (f Finding) Advice(stack string) string {
	if f.Code == event.CodeEgressPullAlways || f.Code == event.CodeEgressMore {
		return f.Fix
	}
	return f.Fix + ", or accept it with allow and a reason in " + stack
}

// Images adds to findings those sites whose image the bundle does not have, and
// gives all in the order and within the bound of Check. has says whether the
// bundle holds the image that a site names. A registry inside the cluster
// is no matter of the bundle.
func Images(found []Finding, named []document.Site, has func(document.Site) bool) []Finding {
	out := slices.Clone(found)
	for _, n := range named {
		if has(n) || insideName(n.Ref) {
			continue
		}
		verb := "names"
		if n.Bare() {
			verb = "may name an"
		}
		out = append(out, Finding{
			Code: event.CodeEgressImage, Warning: n.Bare(), Template: n.Template, Line: n.Line, Manifest: n.Manifest, Text: n.Ref,
			Computed: n.Certainty == document.Joined,
			What:     fmt.Sprintf("%s %s image %s, which is not in the bundle", n.Path, verb, n.Ref),
		})
	}
	return finishFindings(out)
}

// finishFindings sorts, drops repetitions, fills in what every finding of a code says
// and keeps to the bound.
func finishFindings(found []Finding) []Finding {
	for i := range found {
		found[i].Text = excerptOf(found[i].Text)
		found[i].What = cleanText(found[i].What)
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Template, b.Template), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	found = slices.CompactFunc(found, func(a, b Finding) bool {
		return a.Template == b.Template && a.Line == b.Line && a.Code == b.Code && a.Text == b.Text
	})
	for i := range found {
		found[i].advise()
	}
	return Bound(found)
}

// Bound keeps the first MaxFindings and says in one more how many are left out.
func Bound(found []Finding) []Finding {
	left := len(found) - MaxFindings
	if left <= 0 {
		return found
	}
	onlyWarnings := !slices.ContainsFunc(found[MaxFindings:], func(f Finding) bool { return !f.Warning })
	return append(found[:MaxFindings:MaxFindings], Finding{
		Code: event.CodeEgressMore, Warning: onlyWarnings, Template: found[MaxFindings].Template,
		What: listing.More(left, "place") + " would call out",
		Why:  "only the first are listed",
		Fix:  "settle those listed, then run again",
	})
}

func (f *Finding) advise() {
	place := "the chart's values"
	if f.Manifest {
		place = "the manifest"
	}
	switch f.Code {
	case event.CodeEgressDownload:
		f.Why = "the site is closed: it hangs or fails there when it runs"
		f.Fix = "use an image that holds what is fetched, or turn this off in " + place
	case event.CodeEgressRemote:
		f.Why = "the site is closed: nothing can be read from that address"
		f.Fix = "bring the content in the stack, or turn this off in " + place
		if f.Model != "" {
			f.Fix = "add the model to models of a component, or turn this off in " + place
		}
	case event.CodeEgressCallHome:
		f.Why = "the site is closed, and nobody there should try to reach the maker"
		f.Fix = "turn it off in " + place
	case event.CodeEgressImage:
		f.Why = "it is left out of the bundle, and no node of the site can pull it from elsewhere"
		f.Fix = "add it to images of the component"
		if f.Computed {
			f.Fix = computedFix(f.Text)
		}
	case event.CodeEgressPullAlways:
		f.Warning = true
		f.Why = "each start then needs the registry, and a tag can change meanwhile"
		f.Fix = "set the pull policy to IfNotPresent in " + place
	}
}

// computedFix is what brings an image whose name is put together from fields: the
// name need not be the one that is pulled.
func computedFix(ref string) string {
	repository, tag, _ := strings.Cut(ref, ":")
	if model, ok := strings.CutPrefix(repository, lock.HubHost+"/"); ok {
		return modelFix(model, tag)
	}
	if strings.HasSuffix(repository, "/driver") {
		return "resolve with --nodes FILE, an inventory that caisson nodes writes: the tag of a driver ends in the node's system"
	}
	return "find out under which tag its operator pulls it, and add that to images of the component"
}

// modelFix is what brings a model that is named like an image. Its tag in a bundle is its
// commit.
func modelFix(model, tag string) string {
	fix := "add it to models of the component: {name: " + path.Base(model) + ", source: hf://" + model + ", revision: "
	if commitRule.MatchString(tag) {
		return fix + tag + "}"
	}
	return fix + "COMMIT}, and name it by that commit: " + lock.HubHost + "/" + model + ":COMMIT"
}

// excerptOf is text on one line, within the bound.
func excerptOf(s string) string {
	s = cleanText(s)
	if len(s) <= maxExcerpt {
		return s
	}
	return strings.ToValidUTF8(s[:maxExcerpt-3], "") + "…"
}

// cleanText puts text on one line of printable characters.
func cleanText(s string) string {
	if len(s) > 4*maxExcerpt {
		s = s[:4*maxExcerpt]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}
