package plan

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// DigestValues is the digest of values in canonical JSON: sorted keys, no
// spaces.
func DigestValues(values map[string]any) (digest.Digest, error) {
	if len(values) == 0 {
		values = map[string]any{}
	}
	b, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("encoding values: %w", err)
	}
	return digest.FromBytes(b), nil
}

// Mark shortens a digest so that it fits a label.
func Mark(d digest.Digest) string {
	if d.Validate() != nil {
		return ""
	}
	return d.Encoded()[:40]
}
