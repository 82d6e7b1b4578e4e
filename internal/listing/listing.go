// Package listing shortens a list for people: it names the first entries and
// counts the others. It never sorts, and never changes the list it is given.
package listing

import (
	"fmt"
	"strings"
)

// Some names at most most entries in a sentence: "a, b and 3 more".
func Some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// More counts what is not named: "1 more place", "2 more places".
func More(n int, noun string) string {
	if n == 1 {
		return "1 more " + noun
	}
	return fmt.Sprintf("%d more %ss", n, noun)
}

// Cut keeps the first most entries and adds one that counts the others: "3 more",
// with lead before it. A list that is short enough comes back as it is.
func Cut(list []string, most int, lead string) []string {
	if len(list) <= most {
		return list
	}
	return append(list[:most:most], fmt.Sprintf("%s%d more", lead, len(list)-most))
}
