package plan

import (
	"errors"
	"fmt"

	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/listing"
)

// ErrNoLogin: a pull secret has no login for the registry. Where the registry gives to
// anybody, that does no harm.
var ErrNoLogin = errors.New("it has no login for the registry")

// LoginTrouble is why the nodes of a site cannot log in to its registry.
type LoginTrouble struct {
	Secret     string   // NAME of the pull secret; "" where the site names none
	Namespaces []string // where it is wanted
	Why        string   // the registry demands a login; the Secret does not exist
	Spare      bool     // the registry gives to anybody: it only looks wrong
}

// maxNamespaces bounds how many a sentence names.
const maxNamespaces = 5

// What says what is wrong, in one sentence.
func (t LoginTrouble) What(r site.Registry) string {
	if t.Secret == "" {
		return fmt.Sprintf("the site registry %s demands a login, and the site file names no pull secret: %s", r.Address, t.Why)
	}
	where := "namespace"
	if len(t.Namespaces) > 1 {
		where = "namespaces"
	}
	return fmt.Sprintf("pull secret %s in %s %s cannot be used: %s", t.Secret, where, listing.Some(t.Namespaces, maxNamespaces), t.Why)
}

// Hint is the command that creates what is missing.
func (t LoginTrouble) Hint(r site.Registry) string {
	name, namespace := t.Secret, "default"
	if name == "" {
		name = "site-registry"
	}
	if len(t.Namespaces) == 1 {
		namespace = t.Namespaces[0]
	}
	command := fmt.Sprintf("kubectl create secret docker-registry %s --namespace %s --docker-server=%s --docker-username=USER --docker-password=PASSWORD",
		name, namespace, r.Address)
	ref := fmt.Sprintf("registry: {pullSecretRef: {name: %s, namespace: %s}}", name, namespace)
	switch {
	case t.Secret == "":
		return command + "; then name it in the site file: " + ref + "; where every node logs in by itself, write registry: {nodesLogIn: true}"
	case r.PullSecretRef != nil && r.PullSecretRef.Namespace == "":
		return "keep it in one namespace, from which caisson copies it: " + command + "; and in the site file: " + ref
	}
	return command
}
