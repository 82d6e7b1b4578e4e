package survey

import (
	"fmt"
	"io"
	"os"

	"github.com/caisson/caisson/internal/kube"
	"github.com/caisson/caisson/internal/plan"
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

const maxAuthority = 256 << 10

// authority reads the registry's authority, where nodes will be told of it.
func authority(s plan.Site) ([]byte, error) {
	if s.Mirrors() != plan.Mirror || s.Registry.CAFile == "" {
		return nil, nil
	}
	f, err := os.Open(s.Registry.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the registry's CA: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAuthority+1))
	if err == nil && len(data) > maxAuthority {
		err = fmt.Errorf("it has more than %d bytes", maxAuthority)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the registry's CA %s: %w", s.Registry.CAFile, err)
	}
	return data, nil
}
