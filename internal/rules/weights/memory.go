package weights

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Memory is what a server of a model needs it for.
type Memory struct {
	Parameters int64 // weights, those of packed types counted one by one
	Bytes      int64 // that the weights take as they are stored
	Type       Type  // that most bytes are stored in
}

// Memory sums up the tensors of the files that a server reads. Config may be nil.
func (s Set) Memory(config *Config) Memory {
	var m Memory
	byType := map[Type]int64{}
	for _, file := range s.loaded() {
		for name, t := range s.Headers[file].Tensors {
			m.Parameters += countParameters(name, t, config)
			m.Bytes += t.Bytes
			byType[t.Type] += t.Bytes
		}
	}
	types := slices.SortedFunc(maps.Keys(byType), func(a, b Type) int {
		return cmp.Or(cmp.Compare(byType[b], byType[a]), strings.Compare(string(a), string(b)))
	})
	if len(types) > 0 {
		m.Type = types[0]
	}
	return m
}

// packed are the endings of tensors that hold several weights in each number, as
// the methods of quantisation name them.
var packed = []string{".qweight", ".weight_packed", "_blocks", ".weight"}

// beside are the endings of tensors that a method keeps beside its weights; they
// count as no parameters.
var beside = []string{
	".qzeros", ".scales", ".g_idx", "_scales",
	".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_scale_inv", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".input_scale", ".weight_scale_2",
}

func countParameters(name string, t Tensor, config *Config) int64 {
	if config == nil || config.Quantization == "" {
		return t.Count
	}
	if hasEnding(beside, name) || strings.Contains(name, ".quant_state.") {
		return 0
	}
	width := bits[t.Type]
	if !hasEnding(packed, name) || !slices.Contains([]Type{"U8", "I8", "I32", "U32", "I64"}, t.Type) {
		return t.Count
	}
	if each := config.weightBits(name); each > 0 && each < width {
		return t.Count * (width / each)
	}
	return t.Count
}

// weightBits is how many bits one weight of a packed tensor takes.
func (c *Config) weightBits(name string) int64 {
	switch {
	case c.QuantBits > 0:
		return c.QuantBits
	case strings.HasSuffix(name, "_blocks"), strings.HasSuffix(name, ".weight_packed"), strings.HasPrefix(c.Quantization, "awq"):
		return 4
	}
	return 0
}

func hasEnding(endings []string, name string) bool {
	return slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) })
}
