// Package charts holds what Caisson itself brings to a site, as Helm charts. It
// holds no logic: package helm renders them.
package charts

import (
	"embed"
	"io/fs"
)

// files are the charts, a folder each. "all:" takes their _helpers.tpl too.
//
//go:embed all:feature-store all:gpu-probe all:gpu-queues all:model-serving
//go:embed all:node-agent all:site-hub all:training-runtimes
var files embed.FS

// Names are the charts' names, sorted.
func Names() (names []string) {
	entries, _ := files.ReadDir(".") // an embedded root is always there
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// FS is the folder of the named chart, with Chart.yaml at its root, and whether there
// is such a chart.
func FS(name string) (fs.FS, bool) {
	if !fs.ValidPath(name) || name == "." {
		return nil, false
	}
	if info, err := fs.Stat(files, name+"/Chart.yaml"); err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	folder, err := fs.Sub(files, name)
	return folder, err == nil
}
