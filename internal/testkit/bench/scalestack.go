package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

//go:embed all:chart
var chartFiles embed.FS

// scale is how large a generated stack is.
type scale struct{ images, components int }

func (s scale) String() string {
	return fmt.Sprintf("%d images, %d components", s.images, s.components)
}

const chartsURL = "https://charts.acme.example"

// stackText is a stack in which each component has one chart, and each image belongs
// to one component.
func (s scale) stackText() string {
	var b strings.Builder
	b.WriteString("apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: scale, version: 1.0.0}\n" +
		"platforms: [linux/amd64]\nkubernetes: {versions: [\"1.33\", \"1.36\"]}\ncomponents:\n")
	for n := range s.components {
		name := componentName(n)
		fmt.Fprintf(&b, "- name: %s\n  namespace: %s\n  charts:\n  - {name: %s, source: %q, version: 1.0.0}\n", name, name, name, chartsURL)
	}
	return b.String()
}

func componentName(n int) string { return fmt.Sprintf("team%03d", n) }

// charts are the packed charts of the stack, by name.
func (s scale) charts() (map[string][]byte, error) {
	out := map[string][]byte{}
	for n := range s.components {
		archive, err := packChart(componentName(n), s.chartFiles(n))
		if err != nil {
			return nil, err
		}
		out[componentName(n)] = archive
	}
	return out, nil
}

// definitions is how many custom resource definitions a chart brings.
const definitions = 3

// chartFiles are the files of the chart of one component. Every fourth renders its
// definitions, the others have them in crds; every fifth makes up a password.
func (s scale) chartFiles(n int) map[string]string {
	files := map[string]string{}
	root, err := fs.Sub(chartFiles, "chart")
	if err != nil {
		panic(err) // embedded
	}
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		files[path] = strings.ReplaceAll(string(data), "name: NAME", "name: "+componentName(n))
		return err
	})
	if err != nil {
		panic(err) // embedded
	}
	folder, values := "crds", files["values.yaml"]
	if n%4 == 0 {
		folder, values = "definitions", strings.Replace(values, "definitions: false", "definitions: true", 1)
	}
	if n%5 == 0 {
		values = strings.Replace(values, "password: {create: false}", "password: {create: true}", 1)
	}
	for kind := range definitions {
		files[fmt.Sprintf("%s/kind%d.yaml", folder, kind)] = definitionText(componentName(n), kind)
	}
	files["values.yaml"] = values + s.servicesText(n)
	return files
}

// servicesText are the component's services: each has an image of its own.
func (s scale) servicesText(n int) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for image := n; image < s.images; image += s.components {
		fmt.Fprintf(&b, "- {name: service%d, repository: %s/service%d, port: %d}\n", image, componentName(n), image, 8000+image%1000)
	}
	return b.String()
}

// Size of a generated definition: about as large as those of operators are.
const (
	definitionGroups = 20
	definitionFields = 25
)

func definitionText(group string, kind int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: kind%[2]ds.%[1]s.acme.example
spec:
  group: %[1]s.acme.example
  scope: Namespaced
  names: {plural: kind%[2]ds, singular: kind%[2]d, kind: Kind%[2]d, listKind: Kind%[2]dList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
`, group, kind)
	for i := range definitionGroups {
		fmt.Fprintf(&b, "              group%d:\n                type: object\n                description: What belongs together, part %d\n                properties:\n", i, i)
		for j := range definitionFields {
			fmt.Fprintf(&b, "                  field%d:\n                    type: string\n                    description: |-\n"+
				"                      The field sets one thing of its group. It is optional and may be\n                      changed at any time; the controller follows.\n", j)
		}
	}
	return b.String()
}

// packChart packs a chart as Helm does.
func packChart(name string, files map[string]string) ([]byte, error) {
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipped)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: name + "/" + path, Mode: 0o644, Size: int64(len(files[path])), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write([]byte(files[path])); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	err := zipped.Close()
	return buffer.Bytes(), err
}
