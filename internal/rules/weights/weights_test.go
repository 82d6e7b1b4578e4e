package weights

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHeaderLength(t *testing.T) {
	prefix := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	for name, c := range map[string]struct {
		prefix []byte
		size   int64
		want   int64
	}{
		"fits":          {prefix(100), 200, 100},
		"to the end":    {prefix(192), 200, 192},
		"beyond it":     {prefix(193), 200, -1},
		"too long":      {prefix(MaxHeader + 1), 1 << 40, -1},
		"longest":       {prefix(MaxHeader), 1 << 40, MaxHeader},
		"negative":      {prefix(1 << 63), 1 << 40, -1},
		"a short file":  {prefix(1), 7, -1},
		"a zip":         {[]byte("PK\x03\x04\x00\x00\x08\x08"), 1 << 40, -1},
		"a git pointer": {[]byte("version "), 130, -1},
	} {
		got, err := HeaderLength(c.prefix, c.size)
		if c.want < 0 && !errors.Is(err, ErrFormat) || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func tensor(dtype string, shape string, begin, end int) string {
	return fmt.Sprintf(`{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, dtype, shape, begin, end)
}

// parseHeader reads a header in front of data bytes.
func parseHeader(text string, data int64) (*Header, error) {
	return ParseHeader([]byte(text), PrefixLength+int64(len(text))+data)
}

func TestParseHeader(t *testing.T) {
	h, err := parseHeader(`{"__metadata__":{"format":"pt"},"b":`+tensor("BF16", "[2,3]", 8, 20)+`,"a":`+tensor("I64", "[]", 0, 8)+`,"none":`+tensor("F32", "[0,4]", 20, 20)+
		`,"half":`+tensor("F4", "[6]", 20, 23)+`}   `, 23)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Tensors) != 4 || h.Bytes() != 23 || h.Tensors["b"].Count != 6 || h.Tensors["a"].Count != 1 || h.Tensors["half"].Count != 6 || len(h.Unknown) != 0 {
		t.Errorf("header %+v", h)
	}
	if h, err = parseHeader(`{"__metadata__":null,"x":`+tensor("F2_NEW", "[4]", 0, 1)+`}`, 1); err != nil || len(h.Unknown) != 1 {
		t.Errorf("a type of the future: %+v, %v", h, err)
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	one := tensor("U8", "[4]", 0, 4)
	for name, c := range map[string]struct {
		text string
		data int64
		want string
	}{
		"no JSON":         {"PK\x03\x04", 4, "no JSON object"},
		"a list":          {"[]", 0, "no JSON object"},
		"cut":             {`{"a":` + one, 4, "EOF"},
		"text after":      {`{"a":` + one + `}x`, 4, ""},
		"not UTF-8":       {"{\"\xff\":" + one + "}", 4, "UTF-8"},
		"twice":           {`{"a":` + one + `,"a":` + tensor("U8", "[4]", 4, 8) + `}`, 8, "twice"},
		"gap":             {`{"a":` + one + `,"b":` + tensor("U8", "[4]", 5, 9) + `}`, 9, "begins at byte 5"},
		"gap at start":    {`{"a":` + tensor("U8", "[4]", 1, 5) + `}`, 5, "begins at byte 1"},
		"overlap":         {`{"a":` + one + `,"b":` + tensor("U8", "[4]", 2, 6) + `}`, 6, "begins at byte 2"},
		"bytes left over": {`{"a":` + one + `}`, 5, "its tensors take 4 bytes; 5 follow"},
		"cut off":         {`{"a":` + one + `}`, 3, "its tensors take 4 bytes; 3 follow"},
		"shape":           {`{"a":` + tensor("U8", "[5]", 0, 4) + `}`, 4, "5 numbers of type U8"},
		"half a byte":     {`{"a":` + tensor("F4", "[7]", 0, 4) + `}`, 4, "28 bits"},
		"overflow":        {`{"a":` + tensor("U8", "[4294967296,4294967296,4294967296]", 0, 4) + `}`, 4, "a shape that no file can hold"},
		"negative shape":  {`{"a":` + tensor("U8", "[-4]", 0, 4) + `}`, 4, "a shape"},
		"negative offset": {`{"a":` + tensor("U8", "[4]", -4, 0) + `}`, 0, "data_offsets -4 and 0"},
		"backwards":       {`{"a":` + tensor("U8", "[4]", 4, 0) + `}`, 4, "data_offsets 4 and 0"},
		"three offsets":   {`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}}`, 4, "lacks"},
		"no shape":        {`{"a":{"dtype":"U8","data_offsets":[0,4]}}`, 4, "lacks"},
		"a number":        {`{"a":4}`, 4, "cannot unmarshal"},
	} {
		if _, err := parseHeader(c.text, c.data); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestParseIndex(t *testing.T) {
	x, err := ParseIndex([]byte(`{"metadata":{"total_parameters":7,"total_size":12},"weight_map":{"a":"model-1.safetensors","b":"x/model-2.safetensors"},"more":[1]}`))
	if err != nil || x.TotalSize != 12 || x.Shards["b"] != "x/model-2.safetensors" {
		t.Errorf("%+v, %v", x, err)
	}
	for _, metadata := range []string{`{}`, `null`, `[]`, `{"total_size":"12"}`, `{"total_size":-1}`, `{"total_size":1.5}`, `{"total_size":1e40}`} {
		if x, err := ParseIndex([]byte(`{"metadata":` + metadata + `,"weight_map":{"a":"m.safetensors"}}`)); err != nil || x.TotalSize != -1 {
			t.Errorf("%s: %+v, %v", metadata, x, err)
		}
	}
	for _, text := range []string{
		``, `[]`, `{}`, `{"weight_map":{}}`, `{"weight_map":[]}`, `{"weight_map":{"a":1}}`, `{"weight_map":{"a":"../m.safetensors"}}`, `{"weight_map":{"a":"/m.safetensors"}}`,
		`{"weight_map":{"a":"m.bin"}}`, `{"weight_map":{"a":"x/../m.safetensors"}}`, `{"weight_map":{"a":"x\\m.safetensors"}}`, `{"weight_map":{"a":"m.safetensors"}`,
	} {
		if _, err := ParseIndex([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// shard is a header with tensors of four bytes each.
func shard(names ...string) *Header {
	h := &Header{Tensors: map[string]Tensor{}}
	for _, n := range names {
		h.Tensors[n] = Tensor{Type: "F16", Count: 2, Bytes: 4}
	}
	return h
}

func TestCheckSet(t *testing.T) {
	index := func(total int64, pairs ...string) *Index {
		x := &Index{TotalSize: total, Shards: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			x.Shards[pairs[i]] = pairs[i+1]
		}
		return x
	}
	const name = "model.safetensors.index.json"
	for test, c := range map[string]struct {
		set   Set
		want  string
		fatal bool
	}{
		"right":     {Set{map[string]*Header{"m1.safetensors": shard("a"), "m2.safetensors": shard("b")}, map[string]*Index{name: index(8, "a", "m1.safetensors", "b", "m2.safetensors")}}, "", false},
		"below":     {Set{map[string]*Header{"t/m1.safetensors": shard("a")}, map[string]*Index{"t/" + name: index(4, "a", "m1.safetensors")}}, "", false},
		"no total":  {Set{map[string]*Header{"m1.safetensors": shard("a")}, map[string]*Index{name: index(-1, "a", "m1.safetensors")}}, "", false},
		"no shard":  {Set{map[string]*Header{"m1.safetensors": shard("a")}, map[string]*Index{name: index(8, "a", "m1.safetensors", "b", "m2.safetensors")}}, "not carried: m2.safetensors", true},
		"no tensor": {Set{map[string]*Header{"m1.safetensors": shard("a")}, map[string]*Index{name: index(4, "a", "m1.safetensors", "mtp.fc", "m1.safetensors")}}, "not there: mtp.fc in m1.safetensors", true},
		"swapped":   {Set{map[string]*Header{"m1.safetensors": shard("b"), "m2.safetensors": shard("a")}, map[string]*Index{name: index(8, "a", "m1.safetensors", "b", "m2.safetensors")}}, "a in m1.safetensors, b in m2.safetensors", true},
		"total":     {Set{map[string]*Header{"m1.safetensors": shard("a")}, map[string]*Index{name: index(5, "a", "m1.safetensors")}}, "says total_size 5", false},
		"unnamed":   {Set{map[string]*Header{"m1.safetensors": shard("a", "b")}, map[string]*Index{name: index(8, "a", "m1.safetensors")}}, "not name all tensors of its shards: 1 in m1", false},
		"idle":      {Set{map[string]*Header{"m1.safetensors": shard("a"), "model-9.safetensors": shard("z")}, map[string]*Index{name: index(4, "a", "m1.safetensors")}}, "no loader reads: model-9.safetensors", false},
		"a draft":   {Set{map[string]*Header{"m1.safetensors": shard("a"), "draft/model.safetensors": shard("z")}, map[string]*Index{name: index(4, "a", "m1.safetensors")}}, "", false},
	} {
		flaws := c.set.Check()
		switch {
		case c.want == "" && len(flaws) > 0, c.want != "" && len(flaws) != 1:
			t.Errorf("%s: %+v", test, flaws)
		case c.want != "" && (!strings.Contains(flaws[0].What, c.want) || flaws[0].Fatal != c.fatal):
			t.Errorf("%s: %+v, want %q", test, flaws[0], c.want)
		}
	}
}

func TestMemory(t *testing.T) {
	set := Set{Headers: map[string]*Header{
		"model-1.safetensors": {Tensors: map[string]Tensor{
			"l.0.qweight": {Type: "I32", Count: 100, Bytes: 400}, "l.0.scales": {Type: "F16", Count: 10, Bytes: 20}, "l.0.qzeros": {Type: "I32", Count: 10, Bytes: 40},
			"norm.weight": {Type: "F16", Count: 7, Bytes: 14}, "l.1.weight": {Type: "U8", Count: 50, Bytes: 50},
		}},
		"model-2.safetensors": {Tensors: map[string]Tensor{"idle": {Type: "F32", Count: 1000, Bytes: 4000}}},
	}, Indexes: map[string]*Index{"model.safetensors.index.json": {Shards: map[string]string{"norm.weight": "model-1.safetensors"}}}}
	got := set.Memory(&Config{Quantization: "gptq", QuantBits: 4})
	if got != (Memory{Parameters: 800 + 7 + 100, Bytes: 524, Type: "I32"}) {
		t.Errorf("gptq: %+v", got)
	}
	if got = set.Memory(nil); got.Parameters != 177 {
		t.Errorf("without a configuration: %+v", got)
	}
}

// TestMemoryCountsNothingTwice is about folders without an index, where the same
// tensors may lie at two precisions, and others in a file of their own.
func TestMemoryCountsNothingTwice(t *testing.T) {
	set := Set{Headers: map[string]*Header{
		"model.safetensors":                     shard("a", "b"),
		"model.fp32-00001-of-00002.safetensors": {Tensors: map[string]Tensor{"a": {Type: "F32", Count: 2, Bytes: 8}}},
		"model.fp32-00002-of-00002.safetensors": {Tensors: map[string]Tensor{"b": {Type: "F32", Count: 2, Bytes: 8}}},
		"head.safetensors":                      shard("c"),
		"vae/model.safetensors":                 shard("a"),
	}}
	if got := set.Memory(nil); got != (Memory{Parameters: 8, Bytes: 24, Type: "F32"}) {
		t.Errorf("%+v", got)
	}
}

func TestParseConfig(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Config
		kv   int64
	}{
		"llama": {`{"architectures":["LlamaForCausalLM"],"model_type":"llama","torch_dtype":"bfloat16","max_position_embeddings":131072,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"hidden_size":4096}`,
			Config{Architecture: "LlamaForCausalLM", Type: "llama", Number: "bfloat16", MaxContext: 131072, Layers: 32, Heads: 32, KVHeads: 8, HeadSize: 128}, 131072},
		"gpt2": {`{"model_type":"gpt2","n_layer":12,"n_head":12,"n_embd":768,"n_positions":1024}`,
			Config{Type: "gpt2", MaxContext: 1024, Layers: 12, Heads: 12, KVHeads: 12, HeadSize: 64}, 36864},
		"compressed": {`{"model_type":"deepseek_v3","num_hidden_layers":61,"num_attention_heads":128,"num_key_value_heads":128,"kv_lora_rank":512,"qk_rope_head_dim":64,"hidden_size":7168,"quantization_config":{"quant_method":"fp8"}}`,
			Config{Type: "deepseek_v3", Layers: 61, Heads: 128, KVHeads: 128, HeadSize: 56, LatentSize: 576, Quantization: "fp8"}, 70272},
		"with pictures": {`{"model_type":"llava","text_config":{"dtype":"bfloat16","num_hidden_layers":2,"num_attention_heads":4,"hidden_size":64,"max_position_embeddings":99}}`,
			Config{Type: "llava", Number: "bfloat16", MaxContext: 99, Layers: 2, Heads: 4, KVHeads: 4, HeadSize: 16}, 512},
		"hybrid": {`{"num_hidden_layers":4,"layer_types":["linear_attention","linear_attention","linear_attention","full_attention"],"num_attention_heads":2,"head_dim":8,"time_step_limit":[0.0, Infinity],"x":"Infinity \" NaN","y":-Infinity}`,
			Config{Layers: 1, Heads: 2, KVHeads: 2, HeadSize: 8}, 64},
		"one for all": {`{"multi_query":true,"n_layer":2,"n_head":8,"hidden_size":64,"torch_dtype":"float32"}`,
			Config{Number: "float32", Layers: 2, Heads: 8, KVHeads: 1, HeadSize: 8}, 128},
		"code": {`{"auto_map":{"AutoConfig":"configuration_x.XConfig","AutoTokenizer":["tok.Slow",null],"AutoModel":"acme/other--modeling_y.Y","bad":7,"z":"noclass"}}`,
			Config{Code: []string{"acme/other--modeling_y.py", "configuration_x.py", "tok.py"}}, 0},
		"nonsense": {`{"num_hidden_layers":1e300,"num_attention_heads":-4,"hidden_size":"x","head_dim":2.5,"architectures":"A","quantization_config":[],"text_config":3}`, Config{}, 0},
		"huge":     {`{"num_hidden_layers":2147483648,"num_attention_heads":2147483648,"head_dim":2147483648}`, Config{Layers: 1 << 31, Heads: 1 << 31, KVHeads: 1 << 31, HeadSize: 1 << 31}, 0},
	} {
		got, err := ParseConfig([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if fmt.Sprint(*got) != fmt.Sprint(c.want) || got.KVBytesPerToken() != c.kv {
			t.Errorf("%s: %+v, %d bytes each token", name, *got, got.KVBytesPerToken())
		}
	}
	if _, err := ParseConfig([]byte("<html>")); !errors.Is(err, ErrFormat) {
		t.Errorf("not JSON: %v", err)
	}
}

func TestCodeByContent(t *testing.T) {
	program := append([]byte("MZ"), make([]byte, 200)...)
	program[60] = 100
	copy(program[100:], "PE\x00\x00")
	archive := make([]byte, 512)
	copy(archive[257:], "ustar\x0000")
	array := func(descr string) string {
		text := "{'descr': " + descr + ", 'fortran_order': False, 'shape': (3,), }\n"
		return "\x93NUMPY\x01\x00" + string([]byte{byte(len(text)), 0}) + text
	}
	for head, want := range map[string]string{
		"\x80\x02}q\x00X\x05":                        Pickle,
		"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00":   Pickle,
		"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19":  Pickle, // torch before 1.6
		"cposix\nsystem\np0\n(S'id'\n":               Pickle,
		"(dp0\nS'a'\n":                               Pickle,
		"(lp1\n":                                     Pickle,
		"PK\x03\x04\x00\x00\x08\x08archive/data.pkl": Archive,
		string(archive):                              Archive,
		"\x1f\x8b\x08\x00":                           Archive,
		"\x89HDF\r\n\x1a\n\x00":                      Keras,
		array("'|O'"):                                Pickle,
		array("[('a', '<f4'), ('b', 'O')]"):          Pickle,
		array("'<f4'"):                               "",
		"\x7fELF\x02\x01":                            Native,
		string(program):                              Native,
		"#!/bin/sh\nrm -rf /\n":                      Script,
		"MZ is a magazine":                           "",
		"GGUF\x03\x00\x00\x00":                       "",
		"{\"architectures\": []}":                    "",
		"(c) 2024 Acme\nAll rights reserved.\n":      "",
		"cat\ndog\nmouse\n":                          "",
		"# Model card\n":                             "",
		"\x80\x81\x82":                               "",
		"\x80":                                       "",
		"":                                           "",
		"---\nlicense: mit\n---":                     "",
	} {
		if got := CodeByContent([]byte(head)); got != want {
			t.Errorf("%.40q: %q, want %q", head, got, want)
		}
	}
}

func TestCodeByName(t *testing.T) {
	for name, want := range map[string]string{
		"pytorch_model.bin": Pickle, "a/B.PT": Pickle, "model.keras": Keras, "modeling_x.py": Python, "run.sh": Script, "lib/x.so": Native,
		"model.safetensors": "", "tokenizer.model": "", "README.md": "", "config.json": "", "vocab.txt": "", "tokenizer.bin.json": "",
	} {
		if got := CodeByName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestRealFiles reads headers, indexes and configurations of published models
// from a folder that is not part of the repository.
func TestRealFiles(t *testing.T) {
	folder := os.Getenv("CAISSON_TEST_MODEL_FILES")
	if folder == "" {
		t.Skip("CAISSON_TEST_MODEL_FILES names no folder")
	}
	err := filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var got any
		switch {
		case strings.HasSuffix(path, "index.json"):
			got, err = ParseIndex(text)
		case strings.HasSuffix(path, "config.json"):
			got, err = ParseConfig(text)
		default:
			return nil
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		line, _ := json.Marshal(got)
		t.Logf("%s: %.300s", path, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte(`{"__metadata__":{"format":"pt"},"a":`+tensor("BF16", "[2,3]", 0, 12)+`}`), int64(12))
	f.Add([]byte(`{"a":`+tensor("F4", "[2]", 0, 1)+`,"a":null}`), int64(1))
	f.Fuzz(func(t *testing.T, text []byte, data int64) {
		if data < 0 || data > 1<<50 {
			return
		}
		size := PrefixLength + int64(len(text)) + data
		h, err := ParseHeader(text, size)
		if err != nil {
			return
		}
		if h.Bytes() != data {
			t.Errorf("tensors of %d bytes in %d", h.Bytes(), data)
		}
		set := Set{Headers: map[string]*Header{"m.safetensors": h}}
		if m := set.Memory(&Config{Quantization: "gptq", QuantBits: 4}); m.Bytes != data || m.Parameters < 0 {
			t.Errorf("memory %+v of %d bytes", m, data)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":12},"weight_map":{"a":"model-1.safetensors"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := ParseIndex(text)
		if err != nil {
			return
		}
		if x.TotalSize < -1 || len(x.Shards) == 0 {
			t.Errorf("index %+v", x)
		}
		flaws := Set{Indexes: map[string]*Index{"model.safetensors.index.json": x}}.Check()
		if len(flaws) != 1 || flaws[0].Fatal {
			t.Errorf("an index without shards: %+v", flaws)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"architectures":["A"],"num_hidden_layers":2,"auto_map":{"AutoConfig":"a.B"},"text_config":{"text_config":{"n_layer":3}}}`))
	f.Add([]byte(`{"x": "\\", "y": -Infinity}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		if c.KVBytesPerToken() < 0 || c.MaxContext < 0 || strings.ContainsAny(c.Architecture+c.Quantization+strings.Join(c.Code, ""), "\n\x00\x1b") {
			t.Errorf("configuration %+v", c)
		}
	})
}

func FuzzCode(f *testing.F) {
	f.Add([]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': 'O'}"))
	f.Add([]byte("MZ" + strings.Repeat("\xff", 70)))
	f.Fuzz(func(t *testing.T, head []byte) { CodeByContent(head) })
}
