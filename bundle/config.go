package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// config is the config blob of the bundle manifest: what the bundle calls
// itself. Complete and Parent are reserved for delta bundles.
type config struct {
	FormatVersion int           `json:"formatVersion"`
	Name          string        `json:"name"`
	Version       string        `json:"version"`
	Complete      bool          `json:"complete"`
	Parent        digest.Digest `json:"parent,omitempty"` // index digest of the bundle a delta builds on
}

func versionError(v int64) error {
	return fmt.Errorf("%w: format version %d, this reader knows %d", ErrVersion, v, FormatVersion)
}

// parseConfig looks at the format version first, so that a later format is named
// and not misread.
func parseConfig(b []byte) (c config, err error) {
	var version struct {
		FormatVersion int64 `json:"formatVersion"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return c, formatError("bundle config: %w", err)
	}
	if version.FormatVersion != FormatVersion {
		return c, versionError(version.FormatVersion)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, formatError("bundle config: %w", err)
	}
	if !c.Complete || c.Parent != "" {
		return c, ErrDelta
	}
	return c, requireCanonical("bundle config", b, c)
}

// canonicalJSON is the one JSON form of what this package writes: no white space,
// members in the order of the Go types, map members sorted, no HTML escapes.
func canonicalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// requireCanonical requires that b is what writing v gives: no unknown member,
// no duplicate, no second spelling.
func requireCanonical(what string, b []byte, v any) error {
	again, err := canonicalJSON(v)
	if err != nil {
		return formatError("%s: %w", what, err)
	}
	if !bytes.Equal(b, again) {
		return formatError("%s is not in canonical form", what)
	}
	return nil
}
