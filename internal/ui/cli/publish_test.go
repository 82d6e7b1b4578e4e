package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// publish PATH FILE lets the upstream publish a file; publish PATH DIR [level=N] the
// folder's files as an archive of sources, as a host of repositories makes it.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: publish PATH FILE|DIR [level=N]")
	}
	level := gzip.DefaultCompression
	if len(args) == 3 {
		n, err := strconv.Atoi(strings.TrimPrefix(args[2], "level="))
		ts.Check(err)
		level = n
	}
	from := ts.MkAbs(args[1])
	info, err := os.Stat(from)
	ts.Check(err)
	var data []byte
	if info.IsDir() {
		data, err = archiveFolder(from, level)
	} else {
		data, err = os.ReadFile(from)
	}
	ts.Check(err)
	upstreamOf(ts).PutFile("/"+args[0], data)
}

// archiveFolder packs a folder's files below one top folder.
func archiveFolder(dir string, level int) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	err = w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": strings.Repeat("c0ffee00", 5)},
	})
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: "sources-1/" + name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
