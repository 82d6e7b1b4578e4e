package preflight

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
)

// nodeRights are those that a strategy of the nodes needs.
func nodeRights(s plan.Site) []kube.Right {
	resources := map[string][]kube.Right{
		plan.Mirror: {
			{Resource: "configmaps", Namespace: kube.SystemNamespace},
			{Group: "apps", Resource: "daemonsets", Namespace: kube.SystemNamespace},
		},
		plan.IDMS: {
			{Group: "config.openshift.io", Resource: "imagedigestmirrorsets"},
			{Group: "config.openshift.io", Resource: "imagetagmirrorsets"},
		},
	}
	var out []kube.Right
	for _, r := range resources[s.Mirrors()] {
		for _, r.Verb = range []string{"get", "create", "patch", "delete"} {
			out = append(out, r)
		}
	}
	return out
}

// readAuthority reads the registry's authority, where nodes will be told of it.
func readAuthority(s plan.Site) ([]byte, error) {
	if s.Mirrors() != plan.Mirror || s.Registry.CAFile == "" {
		return nil, nil
	}
	data, err := registry.ReadAuthorities(s.Registry.CAFile, registry.MaxNodeAuthorities)
	if err != nil {
		return nil, err
	}
	if err := onlyCertificates(data); err != nil {
		return nil, fmt.Errorf("reading CA certificates: %s: %w", s.Registry.CAFile, err)
	}
	return data, nil
}

// onlyCertificates refuses what must not come onto nodes, such as a key beside a
// certificate, and what a runtime would stumble over.
func onlyCertificates(data []byte) error {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("it goes to every node, and holds a %s beside certificates", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
	}
	return nil
}
