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
	"github.com/caisson/caisson/internal/rules/document"
)

// Bounds of Parse.
const (
	maxDocument = 8 << 20
	maxObjects  = 20000
	maxIdentity = 4 << 10 // bytes of what tells an object from others; messages repeat it
)

// ErrItems: whatever has items is a list to Kubernetes' clients, Helm's among
// them. They would apply the items, of which nobody knows, and not the object.
var ErrItems = errors.New("an object that is not a list has items")

// Parse reads a stream of YAML or JSON documents. Lists are taken apart, empty
// documents dropped. Every object has apiVersion, kind and a name, and none has
// items of its own: that is ErrItems. A stream whose aliases stand for too much is
// a document.ErrTooLarge, and is refused before they are followed.
func Parse(stream []byte) ([]*unstructured.Unstructured, error) {
	var p parser
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return p.objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading document %d: %w", n, err)
		}
		if err := p.addDocument(doc); err != nil {
			return nil, fmt.Errorf("reading document %d: %w", n, err)
		}
	}
}

// parser keeps what was read of a stream.
type parser struct {
	objects  []*unstructured.Unstructured
	expanded document.Expansion
}

func (p *parser) addDocument(doc []byte) error {
	if len(doc) > maxDocument {
		return fmt.Errorf("%d bytes, at most %d", len(doc), maxDocument)
	}
	if err := p.expanded.Add(string(doc)); err != nil {
		return err
	}
	var content map[string]any
	if err := utilyaml.Unmarshal(doc, &content); err != nil {
		return err
	}
	if len(content) == 0 {
		return nil
	}
	u := &unstructured.Unstructured{Object: content}
	if !u.IsList() || !strings.HasSuffix(u.GetKind(), "List") {
		return p.addObject(u)
	}
	return u.EachListItem(func(item runtime.Object) error {
		return p.addObject(item.(*unstructured.Unstructured))
	})
}

func (p *parser) addObject(u *unstructured.Unstructured) error {
	switch {
	case u.GetAPIVersion() == "" || u.GetKind() == "":
		return errors.New("an object without apiVersion or kind")
	case len(u.GetAPIVersion())+len(u.GetKind())+len(u.GetNamespace())+len(u.GetName()) > maxIdentity:
		return fmt.Errorf("an object whose kind and name have more than %d bytes", maxIdentity)
	case u.GetName() == "" && u.GetGenerateName() == "":
		return fmt.Errorf("a %s without a name", u.GetKind())
	case len(p.objects) >= maxObjects:
		return fmt.Errorf("more than %d objects", maxObjects)
	}
	if _, ok := u.Object["items"]; ok {
		return fmt.Errorf("%s: %w; each of them has to be written as an object of its own", object.RefOf(u), ErrItems)
	}
	p.objects = append(p.objects, u)
	return nil
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
