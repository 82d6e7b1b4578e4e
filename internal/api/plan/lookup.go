package plan

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Question is what a template asks of the cluster.
type Question struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"` // "" for kinds without one, and for all of them
	Name       string `json:"name,omitempty"`      // "" lists
}

// Lookup is one question of templates and the digest of its answer.
type Lookup struct {
	Question
	Answer digest.Digest `json:"answer"`
}

// String is how a stack names the question where it allows it:
// "v1/Secret team/db", "v1/Namespace kube-system", "v1/Node *".
func (q Question) String() string {
	out := q.APIVersion + "/" + q.Kind + " "
	if q.Namespace != "" {
		out += q.Namespace + "/"
	}
	return out + cmp.Or(q.Name, "*")
}

// Canonical writes the question's API version in its one form: "v1", not "/v1". A
// rule about v1/Secret must not be got round by spelling.
func (q Question) Canonical() (Question, error) {
	version, err := schema.ParseGroupVersion(q.APIVersion)
	if err != nil || version.Version == "" {
		return q, fmt.Errorf("%q is not an API version", q.APIVersion)
	}
	q.APIVersion = version.String()
	return q, nil
}

// Compare sorts questions.
func (q Question) Compare(other Question) int {
	return cmp.Or(
		cmp.Compare(q.APIVersion, other.APIVersion), cmp.Compare(q.Kind, other.Kind),
		cmp.Compare(q.Namespace, other.Namespace), cmp.Compare(q.Name, other.Name))
}
