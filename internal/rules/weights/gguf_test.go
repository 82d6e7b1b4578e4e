package weights

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// ggufFile writes the head of a GGUF file.
type ggufFile struct{ out []byte }

func (g *ggufFile) u32(n uint32) { g.out = binary.LittleEndian.AppendUint32(g.out, n) }
func (g *ggufFile) u64(n uint64) { g.out = binary.LittleEndian.AppendUint64(g.out, n) }
func (g *ggufFile) text(s string) {
	g.u64(uint64(len(s)))
	g.out = append(g.out, s...)
}

func sampleGGUF() []byte {
	g := &ggufFile{out: []byte("GGUF")}
	g.u32(3)
	g.u64(2) // tensors
	g.u64(10)
	member := func(name string, kind uint32) { g.text(name); g.u32(kind) }
	member("general.architecture", ggufText)
	g.text("llama")
	member("general.file_type", 4)
	g.u32(15)
	member("llama.context_length", 4)
	g.u32(8192)
	member("llama.block_count", 10)
	g.u64(4)
	member("llama.attention.head_count", 4)
	g.u32(8)
	member("llama.attention.head_count_kv", ggufArray)
	g.u32(5)
	g.u64(3)
	g.u32(2)
	g.u32(4)
	g.u32(0)
	member("llama.embedding_length", 4)
	g.u32(512)
	member("tokenizer.ggml.model", ggufText)
	g.text("gpt2")
	member("tokenizer.ggml.tokens", ggufArray)
	g.u32(ggufText)
	g.u64(2)
	g.text("a")
	g.text("bc")
	member("tokenizer.chat_template", ggufText)
	g.text("{{ messages }}")
	for _, name := range []string{"token_embd.weight", "output.weight"} {
		g.text(name)
		g.u32(2)
		g.u64(512)
		g.u64(1000)
		g.u32(12)
		g.u64(0)
	}
	return g.out
}

func TestParseGGUF(t *testing.T) {
	head := sampleGGUF()
	g, err := ParseGGUF(append(head, 1, 2, 3), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if g.Architecture != "llama" || g.Precision != "Q4_K_M" || g.MaxContext != 8192 || g.Parameters != 1_024_000 || !g.HasTokenizer || !g.HasTemplate {
		t.Errorf("%+v", g)
	}
	if kv := g.KVBytesPerToken(); kv != 4*2*4*64*2 {
		t.Errorf("%d bytes for each token", kv)
	}
	for n := range len(head) {
		if _, err := ParseGGUF(head[:n], 1<<20); !errors.Is(err, ErrShort) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
	if _, err := ParseGGUF(head, 10); !errors.Is(err, ErrFormat) {
		t.Errorf("a file that is shorter than its head: %v", err)
	}
}

func TestParseGGUFRefuses(t *testing.T) {
	start := func(tensors, members uint64) *ggufFile {
		g := &ggufFile{out: []byte("GGUF")}
		g.u32(3)
		g.u64(tensors)
		g.u64(members)
		return g
	}
	array := start(0, 1)
	array.text("a")
	array.u32(ggufArray)
	array.u32(10)
	array.u64(1 << 61)
	nested := start(0, 1)
	nested.text("a")
	nested.u32(ggufArray)
	for range 10 {
		nested.u32(ggufArray)
		nested.u64(1)
	}
	shape := start(1, 0)
	shape.text("t")
	shape.u32(4)
	for range 4 {
		shape.u64(1 << 30)
	}
	kind := start(0, 1)
	kind.text("a")
	kind.u32(99)
	long := start(0, 1)
	long.u64(1 << 60)
	if _, err := ParseGGUF(long.out, 1<<40); !errors.Is(err, ErrShort) {
		t.Errorf("a long text: %v", err)
	}
	for name, g := range map[string]*ggufFile{
		"safetensors": {out: []byte("\x10\x00\x00\x00{}")}, "many members": start(0, 1<<40), "many tensors": start(1<<40, 0),
		"a long array": array, "arrays in arrays": nested, "a large shape": shape, "an unknown type": kind,
		"version 1": {out: []byte("GGUF\x01\x00\x00\x00" + strings.Repeat("\x00", 16))},
	} {
		if _, err := ParseGGUF(append(g.out, make([]byte, 100)...), 1<<40); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzGGUF(f *testing.F) {
	f.Add(sampleGGUF())
	f.Fuzz(func(t *testing.T, head []byte) {
		g, err := ParseGGUF(head, int64(len(head)))
		if err == nil && (g.Parameters < 0 || g.KVBytesPerToken() < 0) {
			t.Errorf("%+v", g)
		}
	})
}
