// Package missiontest is the connected side of the stack that comes with caisson, on
// loopback: charts of other projects out of their Go modules, and images under their
// names. Real nodes run real programs of it where there are some; the demo carries
// stand-ins.
//
// It is for tests and the demo; the product never imports it.
package missiontest

import (
	"fmt"
	"strings"
)

// UpstreamsYAML leads what is upstream to the registry at an address and, unless it is
// empty, to a model hub.
func UpstreamsYAML(registry, hub string) []byte {
	var b strings.Builder
	b.WriteString("apiVersion: caisson.dev/v1alpha1\nkind: Upstreams\nrewrites:\n")
	for _, host := range []string{"docker.io", "ghcr.io", "quay.io", "registry.k8s.io"} {
		fmt.Fprintf(&b, "  - {from: %q, to: \"http://%s/%s\"}\n", host, registry, host)
	}
	if hub != "" {
		fmt.Fprintf(&b, "  - {from: \"https://huggingface.co\", to: \"http://%s\"}\n", hub)
	}
	return []byte(b.String())
}
