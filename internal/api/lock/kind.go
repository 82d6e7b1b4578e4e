package lock

import (
	"slices"
	"strings"
)

// Kind is the kind of an item.
type Kind string

// KindInfo is one line of the table of kinds.
type KindInfo struct {
	Kind    Kind
	Plural  string // in counts: images
	Title   string // above what there is of it: signatures and SBOMs
	Purpose string // as an SBOM has it: primaryPackagePurpose of SPDX 2.3, section 7.24

	Signed bool // an upstream may have signed it
	Listed bool // a component lists it among its items
	Plain  bool // a file, which a site can fetch by COMPONENT/NAME

	forms []string // fields that its content may stand in
}

// kinds is the table of kinds, in the order of items in a lock.
var kinds = []KindInfo{imageKind, chartKind, modelKind, fileKind, manifestKind, referrerKind}

// Kinds lists the kinds in the order of items in a lock.
func Kinds() []KindInfo { return slices.Clone(kinds) }

// Info is the kind's line of the table; of an unknown kind it has the name
// alone.
func (k Kind) Info() KindInfo {
	if i := k.rank(); i >= 0 {
		return kinds[i]
	}
	return KindInfo{Kind: k, Plural: string(k), Title: string(k), Purpose: "OTHER"}
}

// rank is the kind's place in the order, -1 for none.
func (k Kind) rank() int {
	return slices.IndexFunc(kinds, func(i KindInfo) bool { return i.Kind == k })
}

// oneOf names the choices in words: image, chart or model.
func oneOf(names []string, last string) string {
	n := len(names) - 1
	return strings.Join(names[:n], ", ") + " " + last + " " + names[n]
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k.Kind)
	}
	return names
}
