package kube

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/api/object"
)

// Bounds of Parse.
const (
	maxDocument = 8 << 20
	maxObjects  = 20000
)

// ErrItems: whatever has items is a list to Kubernetes' clients, Helm's among
// them. They would apply the items, of which nobody knows, and not the object.
var ErrItems = errors.New("an object that is no list has items")

// Parse reads a stream of YAML or JSON documents. Lists are taken apart, empty
// documents dropped. Every object has apiVersion, kind and a name, and none has
// items of its own: that is ErrItems.
func Parse(stream []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading document %d: %w", n, err)
		}
		if out, err = appendDocument(out, doc); err != nil {
			return nil, fmt.Errorf("reading document %d: %w", n, err)
		}
	}
}

func appendDocument(out []*unstructured.Unstructured, doc []byte) ([]*unstructured.Unstructured, error) {
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("%d bytes, at most %d", len(doc), maxDocument)
	}
	var content map[string]any
	if err := utilyaml.Unmarshal(doc, &content); err != nil {
		return nil, err
	}
	if len(content) == 0 {
		return out, nil
	}
	u := &unstructured.Unstructured{Object: content}
	if !u.IsList() || !strings.HasSuffix(u.GetKind(), "List") {
		return appendObject(out, u)
	}
	err := u.EachListItem(func(item runtime.Object) error {
		var err error
		out, err = appendObject(out, item.(*unstructured.Unstructured))
		return err
	})
	return out, err
}

func appendObject(out []*unstructured.Unstructured, u *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	switch {
	case u.GetAPIVersion() == "" || u.GetKind() == "":
		return nil, errors.New("an object without apiVersion or kind")
	case u.GetName() == "" && u.GetGenerateName() == "":
		return nil, fmt.Errorf("a %s without a name", u.GetKind())
	case len(out) >= maxObjects:
		return nil, fmt.Errorf("more than %d objects", maxObjects)
	}
	if _, ok := u.Object["items"]; ok {
		return nil, fmt.Errorf("%s: %w; each of them has to be written as an object of its own", object.RefOf(u), ErrItems)
	}
	return append(out, u), nil
}

// IsCRD says whether u defines custom resources.
func IsCRD(u *unstructured.Unstructured) bool {
	return u.GetKind() == "CustomResourceDefinition" && strings.HasPrefix(u.GetAPIVersion(), "apiextensions.k8s.io/")
}

// Marshal writes objects as one YAML stream that Parse reads back.
func Marshal(objects []*unstructured.Unstructured) ([]byte, error) {
	var b bytes.Buffer
	for _, u := range objects {
		doc, err := yaml.Marshal(u.Object)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", object.RefOf(u), err)
		}
		b.WriteString("---\n")
		b.Write(doc)
	}
	return b.Bytes(), nil
}
