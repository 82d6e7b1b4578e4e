package yamlfile

import "strings"

// suggestKnown ends a message about an unknown word: the nearest known one, or all.
func suggestKnown(word string, known []string) string {
	if near := nearestKnown(word, known); near != "" {
		return ", did you mean \"" + near + "\"?"
	}
	if len(known) == 0 {
		return ""
	}
	return "; known: " + strings.Join(known, ", ")
}

// nearestKnown returns the known word that is at most a third of its letters away
// from word, or "".
func nearestKnown(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", 1<<30
	for _, k := range known {
		limit := max(1, (len(k)+1)/3)
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d <= limit && d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// Suggest ends a message about an unknown word: it names the known word that is
// nearest, or all of them.
func Suggest(word string, known []string) string { return suggestKnown(word, known) }

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours between a and b.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
