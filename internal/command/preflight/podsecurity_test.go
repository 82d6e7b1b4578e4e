package preflight

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestBreaches reads pods and wants the mildest level that each needs named.
func TestBreaches(t *testing.T) {
	const strict = "securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL]}}"
	for name, tc := range map[string]struct {
		spec string
		want []string // LEVEL WHAT
	}{
		"strict":        {"containers: [{name: c, " + strict + "}]", nil},
		"host network":  {"hostNetwork: true, containers: [{name: c, " + strict + "}]", []string{"baseline hostNetwork"}},
		"host path":     {"containers: [{name: c, " + strict + "}], volumes: [{name: v, hostPath: {path: /}}]", []string{"baseline hostPath volume v"}},
		"nfs":           {"containers: [{name: c, " + strict + "}], volumes: [{name: v, nfs: {server: s, path: /}}]", []string{"restricted volume v of a type that needs more rights"}},
		"port":          {"containers: [{name: c, ports: [{containerPort: 1, hostPort: 2}], " + strict + "}]", []string{"baseline container c has hostPort 2"}},
		"privileged":    {"initContainers: [{name: i, securityContext: {privileged: true}}]", []string{"baseline container i is privileged"}},
		"capability":    {"containers: [{name: c, securityContext: {capabilities: {add: [SYS_ADMIN, CHOWN]}}}]", []string{"baseline container c adds capability SYS_ADMIN", "restricted container c adds capability CHOWN"}},
		"nothing said":  {"containers: [{name: c}]", []string{"restricted container c does not set allowPrivilegeEscalation: false", "restricted container c does not set runAsNonRoot: true", "restricted container c sets no seccompProfile", "restricted container c does not drop capability ALL"}},
		"said by a pod": {"securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]", nil},
		"sysctl":        {"securityContext: {sysctls: [{name: kernel.msgmax, value: \"1\"}]}", []string{"baseline sysctl kernel.msgmax"}},
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := document.Split("t", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {"+tc.spec+"}\n")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range newPieceOf(t, docs[0]).part.Breaches {
				got = append(got, b.Level+" "+b.What)
			}
			for _, want := range tc.want {
				if !slices.Contains(got, want) {
					t.Errorf("not found: %s, in %q", want, got)
				}
			}
			if tc.want == nil && len(got) != 0 {
				t.Errorf("found %q", got)
			}
			if len(tc.want) == 1 && strings.HasPrefix(tc.want[0], "baseline") && strings.Contains(tc.spec, strict) && len(got) != 1 {
				t.Errorf("more than one: %q", got)
			}
		})
	}
}

func newPieceOf(t *testing.T, d document.Document) *piece {
	t.Helper()
	objects, err := kube.Parse([]byte(d.Source))
	if err != nil || len(objects) != 1 {
		t.Fatal(err)
	}
	return newPiece(d, objects[0])
}
