package kustomize

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// member is one thing of an archive.
type member struct {
	name, text, link string
	kind             byte
}

func file(name, text string) member { return member{name: name, text: text, kind: tar.TypeReg} }

func pack(t testing.TB, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Typeflag: m.kind, Name: m.name, Linkname: m.link, Size: int64(len(m.text)), Mode: 0o644}
		if m.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: m.kind, Name: m.name, PAXRecords: map[string]string{"comment": m.text}}
			m.text = ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func compress(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(t testing.TB, data []byte) *Archive {
	t.Helper()
	a, err := readArchive(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// content is what lies at a path: a file's text, "folder", "" for nothing, or an error.
func content(t testing.TB, a *Archive, name string) string {
	t.Helper()
	_, e, ok, err := a.find(name)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !ok:
		return ""
	case e.kind == isFolder:
		return "folder"
	case e.kind == isUnread:
		return "unread"
	}
	data, err := a.read(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestTheTarCounts: an archive is known by the tar in it, however it is compressed.
func TestTheTarCounts(t *testing.T) {
	commit := strings.Repeat("c0ffee00", 5)
	plain := pack(t, member{name: "pax_global_header", text: commit, kind: tar.TypeXGlobalHeader}, file("x-1/a/b.yaml", "b"))
	for level, data := range [][]byte{plain, compress(t, plain, 1), compress(t, plain, 9)} {
		a := open(t, data)
		if a.Digest != digest.FromBytes(plain) || a.Size != int64(len(plain)) || a.Sum != digest.FromBytes(data) || a.Commit != commit {
			t.Errorf("%d: %+v", level, a)
		}
		if got := content(t, a, "a/b.yaml"); got != "b" {
			t.Errorf("%d: it holds %q", level, got)
		}
	}
}

func TestOneTopFolderIsDropped(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []member
		path    string
	}{
		{"one", []member{file("x/a.yaml", "a"), file("x/y/b.yaml", "b")}, "a.yaml"},
		{"two", []member{file("x/a.yaml", "a"), file("y/b.yaml", "b")}, "x/a.yaml"},
		{"a file beside it", []member{file("x/a.yaml", "a"), file("b.yaml", "b")}, "x/a.yaml"},
		{"a file alone", []member{file("a.yaml", "a")}, "a.yaml"},
		{"with dots", []member{file("./x/a.yaml", "a")}, "a.yaml"},
	} {
		if got := content(t, open(t, pack(t, c.members...)), c.path); got != "a" {
			t.Errorf("%s: %s holds %q", c.name, c.path, got)
		}
	}
}

func TestLinksStayInTheArchive(t *testing.T) {
	link := func(name, to string) member { return member{name: "x/" + name, link: to, kind: tar.TypeSymlink} }
	a := open(t, pack(t, file("x/real/a.yaml", "a"), link("same", "real"), link("deep/up", "../real/a.yaml"), link("twice", "same/a.yaml"),
		link("out", "../../etc/passwd"), link("whole", "/etc/passwd"), link("round", "round"), link("to", "fro"), link("fro", "to"), link("gone", "none"),
		member{name: "x/hard", link: "x/real/a.yaml", kind: tar.TypeLink}, member{name: "x/pipe", kind: tar.TypeFifo}))
	for name, want := range map[string]string{
		"same/a.yaml": "a", "deep/up": "a", "twice": "a", "same": "folder", "gone": "", "hard": "unread", "pipe": "unread", "real/a.yaml/b": "",
		"out": "leads nowhere", "whole": "leads nowhere", "round": "leads nowhere", "to": "leads nowhere", "../x": "leads nowhere", "same/../../x": "leads nowhere",
	} {
		if got := content(t, a, name); got != want && (want != "leads nowhere" || !strings.Contains(got, want)) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	whole := compress(t, pack(t, file("x/a.yaml", strings.Repeat("a", 100_000))), 9)
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":        {nil, ErrMalformed},
		"a page":         {[]byte("<html>" + strings.Repeat("nothing here ", 100)), ErrMalformed},
		"cut":            {whole[:len(whole)/2], ErrMalformed},
		"without an end": {whole[:len(whole)-8], ErrMalformed},
		"upwards":        {pack(t, file("x/../../a.yaml", "")), ErrMalformed},
		"absolute":       {pack(t, file("/etc/passwd", "")), ErrMalformed},
		"twice":          {pack(t, file("x/a", "1"), file("x/a", "2")), ErrMalformed},
		"file as folder": {pack(t, file("x/a", "1"), file("x/a/b", "2")), ErrMalformed},
		"folder as file": {pack(t, file("x/a/b", "1"), file("x/a", "2")), ErrMalformed},
	} {
		if a, err := readArchive(t.Context(), bytes.NewReader(c.data)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
			_ = a.Close()
		}
	}
}

// TestBombsEnd: what expands without end is read no further than the bound.
func TestBombsEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a gibibyte")
	}
	r, w := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		tw := tar.NewWriter(z)
		zeros := make([]byte, 40<<20) // more than is kept of a file
		for i := 0; ; i++ {
			if tw.WriteHeader(&tar.Header{Name: fmt.Sprint("x/", i), Size: int64(len(zeros)), Typeflag: tar.TypeReg}) != nil {
				return
			}
			if _, err := tw.Write(zeros); err != nil {
				return
			}
		}
	}()
	_, err := readArchive(t.Context(), r)
	_ = r.Close()
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestFilesByPattern(t *testing.T) {
	a := open(t, pack(t, file("x/deploy/b.yaml", ""), file("x/deploy/a.yaml", ""), file("x/deploy/[c].yaml", ""), file("x/deploy/deep/d.yaml", ""), file("x/top.yaml", "")))
	got, err := a.match([]string{"top.yaml", "./deploy/*.yaml", "deploy/a.yaml", "deploy/[c].yaml"})
	if want := []string{"top.yaml", "deploy/[c].yaml", "deploy/a.yaml", "deploy/b.yaml"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := a.match(got); err != nil || !slices.Equal(again, got) { // as a lock has them
		t.Errorf("%q, %v", again, err)
	}
	if _, err := a.match([]string{"deploy/*.json"}); !errors.Is(err, ErrNoFile) {
		t.Errorf("%v", err)
	}
}

// FuzzArchive: whatever is read as an archive, every path of it stays in it.
func FuzzArchive(f *testing.F) {
	f.Add(pack(f, file("x/a", "1"), member{name: "x/l", link: "../x/a", kind: tar.TypeSymlink}), "l/../a")
	f.Add(compress(f, pack(f, file("x/a/b", "1")), 6), "a/b")
	f.Add([]byte("x"), "..")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		a, err := readArchive(t.Context(), bytes.NewReader(data))
		if err != nil {
			return
		}
		defer a.Close()
		if real, _, ok, err := a.find(name); ok && (err != nil || strings.HasPrefix(real, "..") || strings.HasPrefix(real, "/")) {
			t.Errorf("%q leads to %q, %v", name, real, err)
		}
		for n, e := range a.entries {
			if e.kind != isFile {
				continue
			}
			if text, err := a.read(e); err != nil || int64(len(text)) != e.size {
				t.Errorf("%q: %d bytes, %v", n, len(text), err)
			}
		}
	})
}
