// Package charts holds the Kubernetes objects that Caisson itself brings to a
// site. It holds no logic.
package charts

import _ "embed"

// Mirror is the node agent of the reference strategy mirror: a ConfigMap and a
// DaemonSet. Words that begin with $ are filled in by package install.
//
//go:embed mirror.yaml
var Mirror []byte

// Probe is what reads a node's own files for the nodes command: a DaemonSet.
// Words that begin with $ are filled in by package nodes.
//
//go:embed probe.yaml
var Probe []byte
