package preflight

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestBreaches reads pods and wants the mildest level that each needs named.
func TestBreaches(t *testing.T) {
	const strict = "securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL]}}"
	for name, tc := range map[string]struct {
		spec string
		want []string // LEVEL WHAT
	}{
		"strict":       {"containers: [{name: c, " + strict + "}]", nil},
		"host network": {"hostNetwork: true, containers: [{name: c, " + strict + "}]", []string{"baseline host namespaces (hostNetwork=true)"}},
		"host path": {"containers: [{name: c, " + strict + "}], volumes: [{name: v, hostPath: {path: /}}]", []string{
			`baseline hostPath volumes (volume "v")`, `restricted restricted volume types (volume "v" uses restricted volume type "hostPath")`}},
		"nfs": {"containers: [{name: c, " + strict + "}], volumes: [{name: v, nfs: {server: s, path: /}}]", []string{
			`restricted restricted volume types (volume "v" uses restricted volume type "nfs")`}},
		"port": {"containers: [{name: c, ports: [{containerPort: 1, hostPort: 2}], " + strict + "}]", []string{
			`baseline hostPort (container "c" uses hostPort 2)`}},
		"privileged": {"initContainers: [{name: i, securityContext: {privileged: true}}]", []string{
			`baseline privileged (container "i" must not set securityContext.privileged=true)`}},
		"capability": {"containers: [{name: c, securityContext: {capabilities: {add: [SYS_ADMIN, CHOWN]}}}]", []string{
			`baseline non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)`,
			`restricted unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; ` +
				`container "c" must not include "CHOWN", "SYS_ADMIN" in securityContext.capabilities.add)`}},
		"nothing said": {"containers: [{name: c}]", []string{
			`restricted allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)`,
			`restricted runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)`,
			`restricted seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`,
			`restricted unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])`}},
		"said by a pod": {"securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]", nil},
		"sysctl":        {"securityContext: {sysctls: [{name: kernel.msgmax, value: \"1\"}]}", []string{"baseline forbidden sysctls (kernel.msgmax)"}},
		"debugger": {"containers: [{name: c, " + strict + "}], ephemeralContainers: [{name: e, " + strings.Replace(strict, "{", "{procMount: Unmasked, ", 1) + "}]", []string{
			`baseline procMount (container "e" must not set securityContext.procMount to "Unmasked")`}},
		"probe elsewhere": {"containers: [{name: c, livenessProbe: {httpGet: {host: 192.0.2.1, port: 1}}, " + strict + "}]", []string{
			`baseline probe or lifecycle host (container "c" uses probe or lifecycle host "192.0.2.1")`}},
		"own users": {"hostUsers: false, securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := document.Split("t", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {"+tc.spec+"}\n")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			p := newPieceOf(t, docs[0])
			if err := findBreaches([]*piece{p}, "v1.37.0"); err != nil {
				t.Fatal(err)
			}
			for _, b := range p.part.Breaches {
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

// TestBreachesOfAVersion: what an older API server lets pass, or still refuses,
// is told as that server has it.
func TestBreachesOfAVersion(t *testing.T) {
	const probe = "containers: [{name: c, livenessProbe: {httpGet: {host: 192.0.2.1, port: 1}}}]"
	const sysctl = "securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: \"1\"}]}"
	for _, tc := range []struct {
		version, spec string
		broken        bool
	}{
		{"v1.33.4+k3s1", probe, false},
		{"v1.34.0", probe, true},
		{"v9.99.0", probe, true},
		{"unreadable", probe, true},
		{"v1.28.3", sysctl, true},
		{"v1.32.0", sysctl, false},
	} {
		docs, err := document.Split("t", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {"+tc.spec+"}\n")
		if err != nil {
			t.Fatal(err)
		}
		p := newPieceOf(t, docs[0])
		if err := findBreaches([]*piece{p}, tc.version); err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(p.part.Breaches, func(b decide.Breach) bool { return b.Level == "baseline" }); got != tc.broken {
			t.Errorf("%s: %s: %v", tc.version, tc.spec, p.part.Breaches)
		}
	}
}
