package catalog

import "regexp"

var (
	nameRule = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRule  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// validName follows the distribution specification, "Pulling manifests".
func validName(s string) bool { return len(s) <= 255 && nameRule.MatchString(s) }

func validTag(s string) bool { return tagRule.MatchString(s) }
