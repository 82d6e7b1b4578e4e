package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/charts"
	"github.com/caisson/caisson/internal/client/kube"
)

// OpenOurs opens a chart of package charts. Its archive is the same, byte for byte,
// wherever the same program packs it. A name that is none of theirs is fs.ErrNotExist.
func OpenOurs(name string) (*Chart, error) {
	folder, ok := charts.FS(name)
	if !ok {
		return nil, fmt.Errorf("opening chart %s: %w", name, fs.ErrNotExist)
	}
	archive, err := packFolder(name, folder)
	if err != nil {
		return nil, fmt.Errorf("packing chart %s: %w", name, err)
	}
	return LoadArchive(archive)
}

// RenderOurs renders a chart of package charts into objects, in the order of its
// templates. It does so in this process: nobody else wrote these templates.
func RenderOurs(ctx context.Context, name string, values map[string]any) ([]*unstructured.Unstructured, error) {
	c, err := OpenOurs(name)
	if err != nil {
		return nil, err
	}
	made, err := Render(ctx, c, RenderOptions{Values: values})
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, d := range made.Documents {
		objects, err := kube.Parse([]byte(d.Source))
		if err != nil {
			return nil, fmt.Errorf("reading what chart %s renders to: %w", name, err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

// packFolder packs a chart's folder, sorted, without dates and without compression: what
// comes of it does not depend on a version of a compressor, so that a lock of one build
// can be packed by another.
func packFolder(name string, folder fs.FS) ([]byte, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	err = fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		head := tar.Header{Name: name + "/" + path, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(&head); err != nil {
			return err
		}
		_, err = t.Write(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	err = z.Close()
	return packed.Bytes(), err
}
