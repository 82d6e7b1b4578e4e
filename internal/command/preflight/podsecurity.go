package preflight

import (
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/caisson/caisson/internal/rules/decide"
)

// podSecurity holds pods against the Pod Security Standards with the checks of
// the API server's own admission, as of the cluster's version.
type podSecurity struct {
	checks  policy.Evaluator
	version api.Version
}

// newPodSecurity makes the checks of a Kubernetes version; one that cannot be
// read, or is newer than the checks, is taken for the newest.
func newPodSecurity(kubernetes string) (podSecurity, error) {
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return podSecurity{}, fmt.Errorf("preparing the Pod Security Standards: %w", err)
	}
	version := api.LatestVersion()
	if v, err := semver.NewVersion(kubernetes); err == nil {
		version = api.MajorMinorVersion(int(v.Major()), int(v.Minor()))
	}
	return podSecurity{checks: checks, version: version}, nil
}

// findBreaches notes for every piece what its pods break in a Kubernetes of that
// version.
func findBreaches(pieces []*piece, kubernetes string) error {
	standards, err := newPodSecurity(kubernetes)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		if p.template != nil {
			p.part.Breaches = standards.listBreaches(p.template)
		}
	}
	return nil
}

// listBreaches lists what pods of a template break, in the words in which the API
// server refuses them. What level baseline forbids is not repeated for level
// restricted.
func (s podSecurity) listBreaches(t *corev1.PodTemplateSpec) []decide.Breach {
	found := s.breachesOf(api.LevelBaseline, t)
	for _, b := range s.breachesOf(api.LevelRestricted, t) {
		if !slices.ContainsFunc(found, func(o decide.Breach) bool { return o.What == b.What }) {
			found = append(found, b)
		}
	}
	return found
}

func (s podSecurity) breachesOf(level api.Level, t *corev1.PodTemplateSpec) (found []decide.Breach) {
	for _, result := range s.checks.EvaluatePod(api.LevelVersion{Level: level, Version: s.version}, &t.ObjectMeta, &t.Spec) {
		if result.Allowed {
			continue
		}
		what := result.ForbiddenReason
		if result.ForbiddenDetail != "" {
			what += " (" + result.ForbiddenDetail + ")"
		}
		found = append(found, decide.Breach{Level: string(level), What: what})
	}
	return found
}
