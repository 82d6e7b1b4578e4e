package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// several is an error that stands for more than one, each with a cause of its own.
type several interface {
	error
	Causes() []error
}

// explainCauses explains several errors as themselves, those of one kind together, each
// kind with what to do. differ is false where all are of one kind.
func explainCauses(causes []error) (_ Explanation, differ bool) {
	var kinds []Explanation
	for _, err := range causes {
		x := explainOne(err)
		at := slices.IndexFunc(kinds, func(k Explanation) bool { return k.Sentence == x.Sentence })
		if at < 0 {
			kinds = append(kinds, x)
			continue
		}
		kinds[at].Why += "\n" + x.Why
	}
	if len(kinds) < 2 {
		return Explanation{}, false
	}
	all := Explanation{
		Sentence: fmt.Sprintf("%d things are wrong, of %d kinds", len(causes), len(kinds)),
		Hint:     "settle each as said above, then run the same command again",
		Code:     slices.MaxFunc(kinds, func(a, b Explanation) int { return cmp.Compare(a.Code, b.Code) }).Code,
	}
	for _, k := range kinds {
		all.Why += k.Sentence + ":\n" + indentLines(k.Why)
		if k.Hint != "" {
			all.Why += "do: " + k.Hint + "\n"
		}
	}
	all.Why = strings.TrimSpace(all.Why)
	return all, true
}

func indentLines(text string) (out string) {
	for line := range strings.Lines(text) {
		out += "  " + strings.TrimRight(line, "\n") + "\n"
	}
	return out
}
