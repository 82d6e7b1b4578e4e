package weights

import (
	"encoding/binary"
	"math"
	"strings"
)

// Bounds of what is read of a GGUF file.
const (
	// MaxGGUFHead is how much of a file is read for its metadata and the list of
	// its tensors. Vocabularies take most of it.
	MaxGGUFHead    = 32 << 20
	maxGGUFMembers = 100_000
	maxGGUFTensors = 1_000_000
	maxGGUFDepth   = 4 // arrays of arrays
)

// GGUF is what the head of a GGUF file says. A model may lie in several files, of
// which only the first has all of it.
type GGUF struct {
	Config
	Parameters   int64
	Precision    string // of most tensors: Q4_K_M
	HasTokenizer bool
	HasTemplate  bool
}

// ParseGGUF reads the metadata and the list of tensors at the head of a file of
// size bytes. A head that ends in the middle of them is ErrShort.
func ParseGGUF(head []byte, size int64) (*GGUF, error) {
	r := &ggufReader{rest: head}
	if magic := r.take(4); r.err == nil && string(magic) != "GGUF" {
		return nil, formatError("it does not begin as GGUF does")
	}
	if v := r.uint32(); r.err == nil && (v < 2 || v > 100) {
		return nil, formatError("GGUF of version %d", v)
	}
	tensors, members := r.uint64(), r.uint64()
	if r.err != nil {
		return nil, r.err
	}
	if tensors > maxGGUFTensors || members > maxGGUFMembers {
		return nil, formatError("%d tensors and %d members of metadata", tensors, members)
	}
	said := map[string]any{}
	for range members {
		name := r.text(1 << 16)
		kind := r.uint32()
		if r.err != nil {
			return nil, r.err
		}
		v := r.value(kind, 0)
		if r.err != nil {
			return nil, r.err
		}
		if v != nil && len(name) < 200 {
			said[name] = v
		}
	}
	g := describeGGUF(said)
	for range tensors {
		g.Parameters = min(g.Parameters+r.tensor(), math.MaxInt64/4)
		if r.err != nil {
			return nil, r.err
		}
	}
	if read := int64(len(head) - len(r.rest)); read > size {
		return nil, formatError("a head of %d bytes in a file of %d", read, size)
	}
	return g, nil
}

// ggufReader reads numbers and texts; after its first error it gives nothing.
type ggufReader struct {
	rest []byte
	err  error
}

func (r *ggufReader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.rest)) {
		r.err = ErrShort
	}
	if r.err != nil {
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *ggufReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *ggufReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// text reads a text; one of more than most bytes is passed over.
func (r *ggufReader) text(most int) string {
	b := r.take(r.uint64())
	if len(b) > most {
		return ""
	}
	return string(b)
}

// Types of values, and the bytes that those of fixed length take.
const (
	ggufText  = 8
	ggufArray = 9
)

var ggufWidth = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// value reads a value: a text, a whole number, or of an array its first number. Others
// are passed over.
func (r *ggufReader) value(kind uint32, depth int) any {
	switch {
	case kind == ggufText:
		return r.text(1 << 20)
	case kind == ggufArray && depth < maxGGUFDepth:
		return r.array(depth)
	case ggufWidth[kind] == 0:
		r.err = formatError("a value of type %d", kind)
		return nil
	}
	b := r.take(ggufWidth[kind])
	switch {
	case r.err != nil || kind == 6 || kind == 7 || kind == 12:
		return nil
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:])
}

// array gives the largest of the numbers in an array, for what differs from layer to
// layer; texts and the rest are passed over.
func (r *ggufReader) array(depth int) any {
	kind, count := r.uint32(), r.uint64()
	switch {
	case r.err != nil:
		return nil
	case count > MaxGGUFHead:
		r.err = formatError("an array of %d values", count)
		return nil
	}
	if width := ggufWidth[kind]; width > 0 && (count > 1000 || width == 1) {
		r.take(count * width)
		return nil
	}
	var most any
	for range count {
		if r.err != nil {
			return nil
		}
		if n, ok := r.value(kind, depth+1).(uint64); ok && (most == nil || n > most.(uint64)) {
			most = n
		}
	}
	return most
}

// tensor reads the line of one tensor and gives how many numbers it has.
func (r *ggufReader) tensor() int64 {
	r.text(1 << 16)
	dimensions := r.uint32()
	if dimensions > 8 {
		r.err = formatError("a tensor of %d dimensions", dimensions)
		return 0
	}
	count := int64(1)
	for range dimensions {
		n := r.uint64()
		if n > math.MaxInt32*64 || n > 0 && count > math.MaxInt64/8/int64(n) {
			r.err = formatError("a tensor of a shape that no file can hold")
			return 0
		}
		count *= int64(n)
	}
	r.take(4 + 8) // type, offset
	return count
}

// ggufPrecisions are the names of general.file_type.
var ggufPrecisions = map[uint64]string{
	0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
	10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
	19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
	28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}

func describeGGUF(said map[string]any) *GGUF {
	g := &GGUF{}
	text := func(name string) string { s, _ := said[name].(string); return s }
	g.Architecture = plain(text("general.architecture"))
	number := func(name string) int64 {
		n, _ := said[g.Architecture+"."+name].(uint64)
		if n > maxNumber {
			return 0
		}
		return int64(n)
	}
	g.MaxContext, g.Layers = number("context_length"), number("block_count")
	g.Heads = number("attention.head_count")
	if g.KVHeads = number("attention.head_count_kv"); g.KVHeads == 0 {
		g.KVHeads = g.Heads
	}
	if g.HeadSize = number("attention.key_length"); g.HeadSize == 0 && g.Heads > 0 {
		g.HeadSize = number("embedding_length") / g.Heads
	}
	if rank := number("attention.kv_lora_rank"); rank > 0 {
		g.LatentSize = rank + number("rope.dimension_count")
	}
	if kind, ok := said["general.file_type"].(uint64); ok {
		g.Precision = ggufPrecisions[kind]
	}
	g.HasTokenizer = text("tokenizer.ggml.model") != ""
	g.HasTemplate = strings.TrimSpace(text("tokenizer.chat_template")) != ""
	return g
}
