package decide

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

// of is the finding of a code, or nil.
func of(found []event.Finding, code string) *event.Finding {
	for i := range found {
		if found[i].Code == code {
			return &found[i]
		}
	}
	return nil
}

// TestNodesTrustTheAuthority: with every strategy the plan says which CA nodes
// must know, and where it goes.
func TestNodesTrustTheAuthority(t *testing.T) {
	crio := []NodeFact{{Name: "a", Platform: "linux/amd64", Ready: true, Runtime: "cri-o://1.33.1"}}
	for name, c := range map[string]struct {
		references []string
		nodes      []NodeFact
		why, hint  string
	}{
		"rewrite":         {nil, nil, "changes nothing on nodes", "/etc/containerd/certs.d/reg.site:5000/ca.crt (containerd); nothing"},
		"rewrite, CRI-O":  {[]string{plan.Rewrite}, crio, "changes nothing on nodes", "/etc/containers/certs.d/reg.site:5000/ca.crt (cri-o)"},
		"mirror":          {[]string{plan.Mirror}, nil, "the node agent's own image", "/etc/containerd/certs.d/reg.site:5000/ca.crt"},
		"both strategies": {[]string{plan.Mirror, plan.Rewrite}, nil, "the node agent's own image", "/etc/containerd/certs.d/reg.site:5000/ca.crt"},
	} {
		_, found := decide(t, func(l *lock.Lock, s *plan.Site, _ map[Key]Rendered, f *Facts) {
			withAgent(l, f)
			s.References, s.Registry.CAFile, f.CA = c.references, "/site/ca.pem", []byte("pem")
			if c.nodes != nil {
				f.Cluster.Nodes = c.nodes
			}
		})
		f := of(found, "nodes-trust")
		if f == nil || f.Severity != event.Warn || !strings.Contains(f.What, "reg.site:5000 is from the CA in /site/ca.pem") || !strings.Contains(f.Why, c.why) || !strings.Contains(f.Hint, c.hint) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if _, found := decide(t, nil); of(found, "nodes-trust") != nil {
		t.Error("a registry without a CA of its own is spoken of")
	}
}

func TestCRIOHasToReload(t *testing.T) {
	for runtime, want := range map[string]bool{"cri-o://1.33.1": true, "containerd://2.1.0": false} {
		_, _, found := mirrored(t, func(_ *lock.Lock, _ *plan.Site, f *Facts) {
			f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64", Ready: true, Runtime: runtime}}
		})
		f := of(found, "crio-reload")
		if (f != nil) != want || f != nil && !strings.Contains(f.Hint, "systemctl reload crio") {
			t.Errorf("%s: %+v", runtime, f)
		}
	}
}

func TestRegistryOfAnotherAuthority(t *testing.T) {
	for file, want := range map[string]string{"/site/ca.pem": "not proven by the CA in /site/ca.pem", "": "not proven by what this machine trusts"} {
		_, found := decide(t, func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, f *Facts) {
			s.Registry.CAFile, f.Registry.Problem = file, "tls: failed to verify certificate: x509: certificate signed by unknown authority"
		})
		f := of(found, "registry-untrusted")
		if f == nil || f.Severity != event.Error || !strings.Contains(f.What, want) || !strings.Contains(f.Hint, "registry.caFile") || of(found, "registry-unreachable") != nil || of(found, "nodes-trust") != nil {
			t.Errorf("%q: %+v", file, found)
		}
	}
}
