package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Right is one thing the operator must be allowed to do.
type Right struct {
	Verb      string `json:"verb"`
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"` // "" is cluster-wide
	Name      string `json:"name,omitempty"`      // of one object; "" is any
	Path      string `json:"path,omitempty"`      // instead of a resource: a path of the API server
}

// String reads like kubectl auth can-i: "create deployments.apps in web".
func (r Right) String() string {
	s := r.Verb + " " + r.Resource + r.Path
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Name != "" {
		s += " " + r.Name
	}
	if r.Namespace != "" {
		s += " in namespace " + r.Namespace
	}
	return s
}

// Allowed asks the server whether the operator has a right
// (SelfSubjectAccessReview).
func (c *Client) Allowed(ctx context.Context, r Right) (bool, error) {
	resource, sub, _ := strings.Cut(r.Resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Resource: resource, Subresource: sub, Namespace: r.Namespace, Name: r.Name},
	}}
	if r.Path != "" {
		review.Spec = authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.Path, Verb: r.Verb}}
	}
	answer, err := c.Core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("asking whether %s is allowed: %w", r, err)
	}
	return answer.Status.Allowed, nil
}

// Granted are the rights of the operator in one namespace, as the server lists them.
type Granted struct {
	rules []authorizationv1.ResourceRule
}

// Granted asks for all rights in a namespace at once (SelfSubjectRulesReview). Where the
// server cannot list them all, which is so where something else than RBAC decides, none
// is listed: Allowed knows then.
func (c *Client) Granted(ctx context.Context, namespace string) (Granted, error) {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	answer, err := c.Core.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return Granted{}, fmt.Errorf("asking for the rights in namespace %s: %w", namespace, err)
	}
	if answer.Status.Incomplete || answer.Status.EvaluationError != "" {
		return Granted{}, nil
	}
	return Granted{answer.Status.ResourceRules}, nil
}

// Allows says whether a right in that namespace is listed. One that is not may be there
// all the same.
func (g Granted) Allows(r Right) bool {
	return r.Path == "" && slices.ContainsFunc(g.rules, func(rule authorizationv1.ResourceRule) bool {
		return hasOrAll(rule.Verbs, r.Verb) && hasOrAll(rule.APIGroups, r.Group) && coversResource(rule.Resources, r.Resource) &&
			(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
	})
}

func hasOrAll(list []string, s string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, s)
}

// coversResource says whether a resource, or a subresource (pods/exec), is among those
// of a rule.
func coversResource(list []string, resource string) bool {
	_, sub, isSub := strings.Cut(resource, "/")
	return hasOrAll(list, resource) || isSub && slices.Contains(list, "*/"+sub)
}

// whoAmI is the operator's name to the server, "" where it does not say.
func (c *Client) whoAmI(ctx context.Context) string {
	answer, err := c.Core.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return answer.Status.UserInfo.Username
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
