package kube

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// TestGrantedReadsRulesAsRBACDoes: a right that only looks like a listed one is none.
func TestGrantedReadsRulesAsRBACDoes(t *testing.T) {
	rule := func(verbs, groups, resources []string, names ...string) authorizationv1.ResourceRule {
		return authorizationv1.ResourceRule{Verbs: verbs, APIGroups: groups, Resources: resources, ResourceNames: names}
	}
	some := Granted{[]authorizationv1.ResourceRule{
		rule([]string{"get", "create"}, []string{"apps"}, []string{"deployments", "*/scale"}),
		rule([]string{"*"}, []string{""}, []string{"secrets"}, "one"),
		rule([]string{"get"}, []string{"*"}, []string{"jobs"}),
	}}
	all := Granted{[]authorizationv1.ResourceRule{rule([]string{"*"}, []string{"*"}, []string{"*"})}}
	for _, test := range []struct {
		right Right
		some  bool
	}{
		{Right{Verb: "create", Group: "apps", Resource: "deployments"}, true},
		{Right{Verb: "create", Group: "apps", Resource: "deployments", Name: "web"}, true},
		{Right{Verb: "delete", Group: "apps", Resource: "deployments"}, false},
		{Right{Verb: "create", Resource: "deployments"}, false},
		{Right{Verb: "get", Group: "apps", Resource: "deployments/status"}, false},
		{Right{Verb: "get", Group: "apps", Resource: "replicasets/scale"}, true},
		{Right{Verb: "delete", Resource: "secrets", Name: "one"}, true},
		{Right{Verb: "delete", Resource: "secrets", Name: "two"}, false},
		{Right{Verb: "delete", Resource: "secrets"}, false},
		{Right{Verb: "get", Group: "batch", Resource: "jobs"}, true},
		{Right{Verb: "*", Group: "apps", Resource: "deployments"}, false},
	} {
		if some.Allows(test.right) != test.some || !all.Allows(test.right) {
			t.Errorf("%s: %t by some rules, %t by all", test.right, some.Allows(test.right), all.Allows(test.right))
		}
	}
	if all.Allows(Right{Verb: "get", Path: "/metrics"}) {
		t.Error("a path is no resource")
	}
}
