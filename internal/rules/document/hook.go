package document

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// hookAnnotation says when Helm makes an object, if it is not part of a release.
const hookAnnotation = "helm.sh/hook"

// testHooks are those that only `helm test` runs.
var testHooks = []string{"test", "test-success", "test-failure"}

// IsTest says whether annotations make an object one that only `helm test` makes:
// no installation and no upgrade ever does.
func IsTest(annotations map[string]string) bool {
	hooks := strings.FieldsFunc(annotations[hookAnnotation], func(r rune) bool { return r == ',' || r == ' ' })
	return len(hooks) > 0 && !slices.ContainsFunc(hooks, func(h string) bool { return !slices.Contains(testHooks, h) })
}

// WithoutTests leaves out the documents that only `helm test` makes.
func WithoutTests(docs []Document) []Document {
	if !slices.ContainsFunc(docs, Document.isTest) {
		return docs
	}
	return slices.DeleteFunc(slices.Clone(docs), Document.isTest)
}

func (d Document) isTest() bool {
	if d.CRD || !strings.Contains(d.Source, hookAnnotation) || !strings.Contains(d.Source, "test") {
		return false
	}
	var object struct {
		Metadata struct {
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"metadata"`
	}
	return yaml.Unmarshal([]byte(d.Source), &object) == nil && IsTest(object.Metadata.Annotations)
}
