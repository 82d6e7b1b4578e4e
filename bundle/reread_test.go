package bundle

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// turncoat answers with first until its end has been read once, then with then:
// a medium that changes between two reads.
type turncoat struct {
	first, then []byte
	turned      bool
}

func (f *turncoat) ReadAt(p []byte, offset int64) (int, error) {
	data := f.first
	if f.turned {
		data = f.then
	}
	if offset+int64(len(p)) >= int64(len(f.first)) {
		f.turned = true
	}
	return bytes.NewReader(data).ReadAt(p, offset)
}

func TestTableThatChangesBetweenReadsIsRefused(t *testing.T) {
	const size = 9 << 20
	dir := t.TempDir()
	newFixture("x", size, size).write(t, dir, WriterOptions{VolumeSize: 64 << 20})
	files, err := Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(files[0].Head)
	if err != nil {
		t.Fatal(err)
	}
	then := bytes.Clone(first)
	a, b := blobDigest(1, size).Encoded(), blobDigest(2, size).Encoded()
	const entry = `{"digest":"sha256:`
	i, j := strings.Index(string(first), entry+a+`","size"`), strings.Index(string(first), entry+b+`","size"`)
	if i < 0 || j < 0 {
		t.Fatal("the table's entries are not where this test looks for them")
	}
	copy(then[i+len(entry):], b)
	copy(then[j+len(entry):], a)
	if _, err := parseBundle(&turncoat{first: first, then: then}, int64(len(first))); !errors.Is(err, ErrTampered) {
		t.Errorf("a table with two digests exchanged after the first read: %v", err)
	}
	if _, err := parseBundle(&turncoat{first: first, then: first}, int64(len(first))); err != nil {
		t.Errorf("the same head, steady: %v", err)
	}
}
