package weights

import (
	"bytes"
	"encoding/json"
	"math"
	"path"
	"strings"
	"unicode/utf8"
)

// Bounds of an index.
const (
	MaxIndex  = 64 << 20
	maxShards = 100_000
)

// Index says which shard holds which tensor. Shards are named as in the file:
// beside the index.
type Index struct {
	TotalSize int64             // bytes of all tensors; -1 where the publisher does not say
	Shards    map[string]string // by tensor
}

// ParseIndex reads an index of shards.
func ParseIndex(text []byte) (*Index, error) {
	if len(text) > MaxIndex || !utf8.Valid(text) {
		return nil, formatError("the index is longer than %d bytes, or not UTF-8", MaxIndex)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	x := &Index{TotalSize: -1, Shards: map[string]string{}}
	err := eachMember(dec, func(name string) error {
		switch name {
		case "metadata":
			return x.readMetadata(dec)
		case "weight_map":
			return x.readMap(dec)
		}
		var skipped json.RawMessage
		return asFormatError(dec.Decode(&skipped))
	})
	if err != nil {
		return nil, err
	}
	if len(x.Shards) == 0 {
		return nil, formatError("the index has no weight_map, or an empty one")
	}
	return x, nil
}

func asFormatError(err error) error {
	if err == nil {
		return nil
	}
	return formatError("%v", err)
}

// readMetadata takes total_size, which some publishers write as text or as a
// fraction, and others leave out.
func (x *Index) readMetadata(dec *json.Decoder) error {
	var raw struct {
		TotalSize any `json:"total_size"`
	}
	var text json.RawMessage
	if err := dec.Decode(&text); err != nil {
		return asFormatError(err)
	}
	_ = json.Unmarshal(text, &raw) // metadata of another form says nothing
	if n, ok := raw.TotalSize.(float64); ok && n >= 0 && n < math.MaxInt64/2 && n == math.Trunc(n) {
		x.TotalSize = int64(n)
	}
	return nil
}

func (x *Index) readMap(dec *json.Decoder) error {
	var raw map[string]string
	if err := dec.Decode(&raw); err != nil {
		return asFormatError(err)
	}
	names := map[string]bool{}
	for tensor, shard := range raw {
		if !isPlainName(shard) {
			return formatError("the index puts tensor %.100q into %.100q, which is no safetensors file beside it", tensor, shard)
		}
		if names[shard] = true; len(names) > maxShards {
			return formatError("more than %d shards", maxShards)
		}
	}
	x.Shards = raw
	return nil
}

// isPlainName accepts a safetensors file in the folder of the index or below it.
func isPlainName(shard string) bool {
	return IsSafetensors(shard) && len(shard) < 1024 && path.Clean(shard) == shard &&
		!strings.HasPrefix(shard, "/") && !strings.HasPrefix(shard, "../") && !strings.Contains(shard, "\\")
}
