package bundle

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// allowed are the errors that hostile input may cause.
func allowed(err error) bool {
	return errors.Is(err, ErrFormat) || errors.Is(err, ErrVersion) || errors.Is(err, ErrDelta)
}

func FuzzHead(f *testing.F) {
	b, err := os.ReadFile(filepath.Join(goldenDir, "tiny.head.tar"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(newForgery().bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !allowed(err) {
				t.Fatal(err)
			}
			return
		}
		again := newHeadBuilder()
		for i := range h.blobs {
			p, err := h.readBlob(i, maxHead)
			if err != nil {
				t.Fatal(err)
			}
			again.addBlob(p)
		}
		var out bytes.Buffer
		if err := again.writeHead(&out, h.index); err != nil || !bytes.Equal(out.Bytes(), b) {
			t.Fatal("a head that was read is written otherwise", err)
		}
		if _, err := parseBundle(bytes.NewReader(b), int64(len(b))); err != nil && !allowed(err) {
			t.Fatal(err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, size := range []int64{0, 1, maxOctalSize, maxOctalSize + 1, maxStream} {
		h := newHeader("index.json", size)
		f.Add(h[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h header
		copy(h[:], b)
		name, size, err := h.parseEntry()
		if err != nil {
			if !allowed(err) {
				t.Fatal(err)
			}
			return
		}
		if newHeader(name, size) != h {
			t.Fatal("a header that was read is written otherwise")
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(newForgery().table))
	f.Add([]byte(`{"formatVersion":1,"blockSize":4194304,"volumeSize":1048576,"streamSize":1024,"entries":[]}`))
	f.Add([]byte(strings.Replace(newForgery().table, "here", "base", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parseTable(bytes.NewReader(b))
		if err != nil {
			if !allowed(err) {
				t.Fatal(err)
			}
			return
		}
		var out bytes.Buffer
		if err := table.writeTo(&out); err != nil || !bytes.Equal(out.Bytes(), b) {
			t.Fatalf("read %q, written %q", b, out.Bytes())
		}
	})
}

func FuzzIndex(f *testing.F) {
	b, _ := canonicalJSON(newIndex([]ocispec.Descriptor{{MediaType: "a", Annotations: map[string]string{"b": "c<"}}}))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		index, err := parseIndex(b)
		if err != nil {
			return
		}
		if again, err := canonicalJSON(index); err != nil || !bytes.Equal(again, b) {
			t.Fatal("an index that was read is written otherwise", err)
		}
	})
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[{}]}`), ocispec.MediaTypeImageManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), ocispec.MediaTypeImageIndex)
	f.Fuzz(func(t *testing.T, b []byte, mediaType string) {
		doc, err := parseDocument(b, mediaType)
		if err == nil && doc.Manifests != nil && doc.Layers != nil {
			t.Fatal("both an index and a manifest")
		}
	})
}

func FuzzStatement(f *testing.F) {
	b, _ := Sealed{Contents: "a", Index: "sha256:00"}.Statement().Marshal()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatement(b)
		if err != nil {
			return
		}
		once, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseStatement(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, _ := again.Marshal(); !bytes.Equal(once, twice) {
			t.Fatalf("%s\n%s", once, twice)
		}
	})
}

func FuzzScan(f *testing.F) {
	for _, n := range []string{"a.head.tar", "a.vol-00001.tar", "a.key.sigstore.json", "a.ledger.json", "a.b.vol-0.tar"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, base string) {
		switch kind, name, n := classifyName(base); kind {
		case 'h':
			if headName(name) != base {
				t.Fatal(base)
			}
		case 'v':
			if volumeName(name, n) != base {
				t.Fatal(base)
			}
		case 'l':
			if ledgerName(name) != base {
				t.Fatal(base)
			}
		case 's':
			if !strings.HasPrefix(base, name+".") || !strings.HasSuffix(base, ".sigstore.json") {
				t.Fatal(base)
			}
		}
	})
}

// ignorer takes whatever a journal says.
type ignorer struct{ slots int }

func (ignorer) replayJob(jobRecord) error            { return nil }
func (i ignorer) replayProgress(s int, v []sum) bool { return s < i.slots && len(v) < 100 }
func (i ignorer) replayCommit(s int, _ sum) bool     { return s < i.slots }
func (i ignorer) replayReset(s int) bool             { return s < i.slots }

func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, journalName("x"))
	f.Add(journalSeed(f, dir))
	if err := os.Remove(path); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, journalName("x"))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(dir, "x", true)
		if err != nil {
			t.Fatal(err)
		}
		defer j.close()
		started, err := j.replayRecords(ignorer{5})
		if err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(b, left) || started != (len(left) > 0) {
			t.Fatalf("replay left %d of %d bytes, started %v, %v", len(left), len(b), started, err)
		}
		for s := range j.metas {
			if p, ok := j.readHeadBlob(s); !ok || sumOf(p) != s {
				t.Fatal("a head blob cannot be read back")
			}
		}
	})
}

func journalSeed(f *testing.F, dir string) []byte {
	j, err := openJournal(dir, "x", true)
	if err != nil {
		f.Fatal(err)
	}
	defer j.close()
	_ = j.startJob(jobRecord{Format: 1, Name: "x"})
	_ = j.appendProgress(1, make([]sum, 3))
	_ = j.appendCommit(1, sum{7})
	_ = j.appendReset(1)
	_, _ = j.putMeta([]byte("{}"))
	b, err := os.ReadFile(j.file.Name())
	if err != nil || len(b) == 0 {
		f.Fatal(err)
	}
	return b
}
