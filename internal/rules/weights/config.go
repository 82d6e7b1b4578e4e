package weights

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// MaxConfig bounds a model's config.json.
const MaxConfig = 4 << 20

// Config is what a server has to know of a model's config.json. Numbers that the
// file does not give are 0.
type Config struct {
	Architecture string // the first of architectures
	Type         string // model_type
	Number       string // torch_dtype: bfloat16
	MaxContext   int64  // tokens
	Layers       int64  // those that keep keys and values
	Heads        int64  // of attention
	KVHeads      int64  // of those, the ones that keep keys and values
	HeadSize     int64
	LatentSize   int64    // what a layer keeps of a token where keys and values are compressed together
	Quantization string   // quant_method: gptq
	QuantBits    int64    // of one weight
	Code         []string // of auto_map: files of the model, or REPOSITORY--FILE of another
}

// ParseConfig reads config.json, or another of the files that may name code. What has another form than servers read is an
// error; what is missing is not.
func ParseConfig(text []byte) (*Config, error) {
	if len(text) > MaxConfig {
		return nil, formatError("it is longer than %d bytes", MaxConfig)
	}
	var raw members
	if err := json.Unmarshal(withoutInfinity(text), &raw); err != nil {
		return nil, formatError("%v", err)
	}
	c := &Config{Type: raw.text("model_type"), Number: raw.text("dtype", "torch_dtype"), Code: codeFiles(raw)}
	if c.Number == "" {
		c.Number = raw.textModel().text("dtype", "torch_dtype")
	}
	if list := raw.list("architectures"); len(list) > 0 {
		c.Architecture, _ = list[0].(string)
	}
	c.Architecture, c.Type, c.Number = plain(c.Architecture), plain(c.Type), plain(c.Number)
	c.readQuantization(raw)
	c.readShape(raw.textModel())
	return c, nil
}

// withoutInfinity blanks out the three words that Python writes as numbers, and
// that JSON does not have.
func withoutInfinity(text []byte) []byte {
	out := bytes.Clone(text)
	inside := false
	for i := 0; i < len(out); i++ {
		switch {
		case inside && out[i] == '\\':
			i++
		case out[i] == '"':
			inside = !inside
		case !inside:
			for _, word := range []string{"-Infinity", "Infinity", "NaN"} {
				if bytes.HasPrefix(out[i:], []byte(word)) {
					copy(out[i:], "0"+strings.Repeat(" ", len(word)-1))
					break
				}
			}
		}
	}
	return out
}

// layerNames are what families of models call the number of their layers.
var layerNames = []string{"num_hidden_layers", "n_layer", "n_layers", "num_layers"}

// members is a JSON object.
type members map[string]any

// textModel is the part about the language model, where others surround it.
func (m members) textModel() members {
	for _, name := range []string{"text_config", "llm_config", "language_config", "thinker_config", "decoder"} {
		if inner := m.object(name); inner != nil {
			if found := inner.textModel(); found.number(layerNames...) > 0 {
				return found
			}
		}
	}
	return m
}

func (m members) object(name string) members {
	inner, _ := m[name].(map[string]any)
	return inner
}

func (m members) list(name string) []any {
	list, _ := m[name].([]any)
	return list
}

func (m members) text(names ...string) string {
	for _, name := range names {
		if s, ok := m[name].(string); ok {
			return s
		}
	}
	return ""
}

// maxNumber bounds what a configuration may say, so that products stay numbers.
const maxNumber = 1 << 31

// number is the first of names that the object gives as a whole positive number.
func (m members) number(names ...string) int64 {
	for _, name := range names {
		if f, ok := m[name].(float64); ok && f >= 1 && f <= maxNumber && f == float64(int64(f)) {
			return int64(f)
		}
	}
	return 0
}

// readShape takes the numbers under the names that families of models give them.
func (c *Config) readShape(m members) {
	c.MaxContext = m.number(
		"max_position_embeddings", "max_sequence_length", "max_seq_len", "seq_length", "n_positions", "n_ctx")
	c.Layers = m.attentionLayers()
	c.Heads = m.number("num_attention_heads", "n_head", "n_heads", "num_heads")
	c.KVHeads = m.number("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
	if c.KVHeads == 0 {
		c.KVHeads = m.object("attn_config").number("kv_n_heads")
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
		if m["multi_query"] == true && m["new_decoder_architecture"] != true {
			c.KVHeads = min(1, c.Heads)
		}
	}
	if c.HeadSize = m.number("head_dim", "kv_channels"); c.HeadSize == 0 && c.Heads > 0 {
		c.HeadSize = m.number("hidden_size", "n_embd", "d_model") / c.Heads
	}
	if rank := m.number("kv_lora_rank"); rank > 0 {
		c.LatentSize = rank + m.number("qk_rope_head_dim")
	}
}

// attentionLayers are the layers that keep something of each token: where a list
// says of what type each is, those of linear attention and state keep nothing.
func (m members) attentionLayers() int64 {
	all := m.number(layerNames...)
	var kept int64
	for _, t := range m.list("layer_types") {
		if s, _ := t.(string); strings.HasSuffix(s, "attention") && s != "linear_attention" {
			kept++
		}
	}
	if kept > 0 {
		return min(kept, all)
	}
	return all
}

func (c *Config) readQuantization(raw members) {
	for _, place := range []members{raw, raw.textModel()} {
		for _, name := range []string{"quantization_config", "compression_config", "quantization"} {
			if q := place.object(name); q != nil && c.Quantization == "" {
				c.Quantization, c.QuantBits = plain(q.text("quant_method", "quant_algo")), q.number("bits", "w_bit")
				if q["load_in_4bit"] == true || q["_load_in_4bit"] == true {
					c.QuantBits = 4
				}
				if c.Quantization == "" && name == "quantization" {
					c.Quantization = "mlx"
				}
			}
		}
	}
}

// codeFiles are the files whose code the configuration names in auto_map, sorted.
func codeFiles(raw members) []string {
	found := map[string]bool{}
	for _, v := range raw.object("auto_map") {
		list, ok := v.([]any) // of tokenizers: the slow and the fast one
		if !ok {
			list = []any{v}
		}
		for _, e := range list {
			if s, ok := e.(string); ok && len(s) < 500 && len(found) < 100 {
				found[codeFile(s)] = true
			}
		}
	}
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
}

// codeFile is the file of a class: modeling_x.py of modeling_x.Model.
func codeFile(class string) string {
	i := strings.LastIndexByte(class, '.')
	if i <= 0 {
		return ""
	}
	repository, module, foreign := strings.Cut(class[:i], "--")
	if !foreign {
		return plain(strings.ReplaceAll(class[:i], ".", "/") + ".py")
	}
	return plain(repository + "--" + module + ".py")
}

// KVBytesPerToken is what the model keeps of one token of a request while it
// answers, with numbers of two bytes, or of four where its weights are such; 0
// where the configuration does not say.
func (c *Config) KVBytesPerToken() int64 {
	width := int64(2)
	if c.Number == "float32" {
		width = 4
	}
	perLayer := c.LatentSize
	if perLayer == 0 {
		perLayer = saturate(2, c.KVHeads, c.HeadSize)
	}
	return saturate(c.Layers, perLayer, width)
}

// saturate multiplies; what is beyond all sense is 0, as is what is not known.
func saturate(factors ...int64) int64 {
	product := int64(1)
	for _, f := range factors {
		if f <= 0 || product > (1<<50)/f {
			return 0
		}
		product *= f
	}
	return product
}

// plain keeps a short word of printable ASCII letters, and nothing else.
func plain(s string) string {
	if len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return s
}
