package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxHeader is the longest header that the format's own reader takes.
const MaxHeader = 100_000_000

// PrefixLength is how many bytes of a safetensors file say how long its header is.
const PrefixLength = 8

// Header is what a safetensors file says of its tensors.
type Header struct {
	Tensors map[string]Tensor
	Unknown []Type // types whose width is not known here, sorted
}

// HeaderLength is the length of the header that follows the prefix of a file
// of size bytes.
func HeaderLength(prefix []byte, size int64) (int64, error) {
	if size < PrefixLength || len(prefix) < PrefixLength {
		return 0, formatError("%d bytes are too few for safetensors", size)
	}
	n := binary.LittleEndian.Uint64(prefix)
	switch {
	case n > MaxHeader:
		return 0, formatError("a header of %d bytes; safetensors have %d at most", n, MaxHeader)
	case int64(n) > size-PrefixLength:
		return 0, formatError("a header of %d bytes in a file of %d", n, size)
	}
	return int64(n), nil
}

// ParseHeader reads the header of a file of size bytes and holds the file against
// it, as the format's own reader does: the tensors' bytes follow each other
// without a gap from the header to the file's end, and each has as many as its
// type and shape take.
func ParseHeader(text []byte, size int64) (*Header, error) {
	if !utf8.Valid(text) {
		return nil, formatError("the header is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	h := &Header{Tensors: map[string]Tensor{}}
	unknown := map[Type]bool{}
	err := eachMember(dec, func(name string) error {
		if name == "__metadata__" {
			var skipped json.RawMessage
			return dec.Decode(&skipped)
		}
		if _, twice := h.Tensors[name]; twice {
			return formatError("tensor %.100q is listed twice", name)
		}
		t, err := readTensor(dec, name)
		if err != nil {
			return err
		}
		if bits[t.Type] == 0 {
			unknown[t.Type] = true
		}
		h.Tensors[name] = t
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.Unknown = slices.Sorted(maps.Keys(unknown))
	return h, h.checkCover(size - PrefixLength - int64(len(text)))
}

// eachMember reads one JSON object and nothing after it; do reads the value of
// each member.
func eachMember(dec *json.Decoder, do func(name string) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return formatError("no JSON object")
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return formatError("%v", err)
		}
		name, _ := t.(string)
		if err := do(name); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return formatError("%v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return formatError("text after the JSON object")
	}
	return nil
}

func readTensor(dec *json.Decoder, name string) (Tensor, error) {
	var raw struct {
		Type    Type    `json:"dtype"`
		Shape   []int64 `json:"shape"`
		Offsets []int64 `json:"data_offsets"`
	}
	if err := dec.Decode(&raw); err != nil {
		return Tensor{}, formatError("tensor %.100q: %v", name, err)
	}
	if raw.Type == "" || len(raw.Type) > 20 || raw.Shape == nil || len(raw.Offsets) != 2 {
		return Tensor{}, formatError("tensor %.100q lacks its dtype, its shape or its two data_offsets", name)
	}
	t := Tensor{Type: raw.Type, Count: 1, begin: raw.Offsets[0], Bytes: raw.Offsets[1] - raw.Offsets[0]}
	if t.begin < 0 || raw.Offsets[1] < t.begin {
		return t, formatError("tensor %.100q: data_offsets %d and %d", name, raw.Offsets[0], raw.Offsets[1])
	}
	for _, n := range raw.Shape {
		if n < 0 || n > 0 && t.Count > math.MaxInt64/64/n {
			return t, formatError("tensor %.100q: a shape that no file can hold", name)
		}
		t.Count *= n
	}
	if width, known := bits[t.Type]; known && (t.Count*width%8 != 0 || t.Count*width/8 != t.Bytes) {
		return t, formatError("tensor %.100q has %d bytes; %d numbers of type %s take %d bits",
			name, t.Bytes, t.Count, t.Type, t.Count*width)
	}
	return t, nil
}

// checkCover requires that the tensors cover the data, without gap and overlap.
func (h *Header) checkCover(data int64) error {
	names := slices.SortedFunc(maps.Keys(h.Tensors), func(a, b string) int {
		x, y := h.Tensors[a], h.Tensors[b]
		return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.Bytes, y.Bytes), strings.Compare(a, b))
	})
	var at int64
	for _, name := range names {
		t := h.Tensors[name]
		if t.begin != at {
			return formatError("tensor %.100q begins at byte %d of the data, not at %d, where the one before it ends",
				name, t.begin, at)
		}
		at += t.Bytes
	}
	if at != data {
		return formatError("its tensors take %d bytes; %d follow the header", at, data)
	}
	return nil
}

// Bytes is what all tensors take.
func (h *Header) Bytes() (n int64) {
	for _, t := range h.Tensors {
		n += t.Bytes
	}
	return n
}
