package kube

import (
	"regexp"
	"strings"

	"github.com/caisson/caisson/internal/rules/redact"
)

// private are the places whose values are not told: they can hold credentials. What
// runs, with which arguments and in which environment, is among them, and so is every
// field that is named after a credential.
var private = regexp.MustCompile(`^(data|binaryData|stringData)\b|[aA]nnotations\.|\.caData\b|` +
	`(?i:\.(env|envs|envVars|environment|variables|args|arguments|extraArgs|command|cmd|script|httpHeaders|headers|` +
	`config|configuration|parameters|params|userData|cloudInit)(\[|\.|$))|` +
	`(?i:(password|passwd|passphrase|secret|token|credential|license|authorization|bearer|dsn|connectionString|` +
	`(api|access|private|secret|signing|encryption|account|auth|shared)[-_]?key)s?(\[|\]|\.|$))`)

// random is a run of characters as keys have it: long, and with digits among letters.
var random = regexp.MustCompile(`[A-Za-z0-9+_=]{20,}`)

// checksum is a digest, which looks like a key and is none.
var checksum = regexp.MustCompile(`\bsha(256|512):[0-9a-f]+`)

// isPrivate says whether the value of a field is not told. A mapping or a list is not,
// whatever it is called: anything may be in it.
func isPrivate(path string, value any) bool {
	switch v := value.(type) {
	case map[string]any, []any:
		return true
	case string:
		return private.MatchString(path) || looksPrivate(v)
	}
	return private.MatchString(path)
}

// looksPrivate says whether a string has the look of a credential.
func looksPrivate(s string) bool {
	if strings.ContainsAny(s, "\n\r") || redact.New().Text(s) != s {
		return true
	}
	for _, run := range random.FindAllString(checksum.ReplaceAllString(s, ""), -1) {
		if strings.ContainsAny(run, "0123456789") && strings.ContainsAny(strings.ToLower(run), "abcdefghijklmnopqrstuvwxyz") {
			return true
		}
	}
	return false
}
