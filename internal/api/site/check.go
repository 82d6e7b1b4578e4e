package site

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/yamlfile"
)

var (
	labelRule   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	dnsRule     = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
	addressRule = regexp.MustCompile(`^[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

func checkSite(doc *yamlfile.Document, s *Site) {
	switch {
	case s.Metadata.Name == "":
		doc.Missing("metadata.name")
	case len(s.Metadata.Name) > 63 || !labelRule.MatchString(s.Metadata.Name):
		doc.Problemf("metadata.name", "%q is not a name of at most 63 lower-case letters, digits and '-'", s.Metadata.Name)
	}
	checkRegistry(doc, &s.Registry)
	checkGPU(doc, s.GPU)
	strategies := []string{RewriteReferences, MirrorReferences, IDMSReferences}
	for i, r := range s.References {
		if !slices.Contains(strategies, r) {
			doc.Problemf(fmt.Sprintf("references[%d]", i), "unknown strategy %q%s", r, yamlfile.Suggest(r, strategies))
		}
	}
	if slices.Contains(s.References, MirrorReferences) && slices.Contains(s.References, IDMSReferences) {
		doc.Problemf("references", "mirror and idms both write the nodes' configuration; choose one")
	}
	for name := range s.Components {
		if !labelRule.MatchString(name) {
			doc.Problemf("components", "%q is not a component's name", name)
		}
	}
	if s.StorageClass != "" && !dnsRule.MatchString(s.StorageClass) {
		doc.Problemf("storageClass", "%q is not a storage class's name", s.StorageClass)
	}
	if u, err := url.Parse(s.Hub); s.Hub != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil) {
		doc.Problemf("hub", "%q is not an http or https address without a login", s.Hub)
	}
}

func checkRegistry(doc *yamlfile.Document, r *Registry) {
	modes := []string{Embedded, External}
	switch {
	case r.Mode == "":
		doc.Missing("registry.mode")
	case !slices.Contains(modes, r.Mode):
		doc.Problemf("registry.mode", "unknown mode %q%s", r.Mode, yamlfile.Suggest(r.Mode, modes))
	}
	switch {
	case r.Address == "":
		doc.Missing("registry.address")
	case strings.Contains(r.Address, "://"):
		doc.Problemf("registry.address", "%q is a URL; give HOST:PORT, and plainHTTP: true for a registry without TLS", r.Address)
	case strings.Contains(r.Address, "/"):
		doc.Problemf("registry.address", "%q has a path; the part after the host is the field prefix", r.Address)
	case !addressRule.MatchString(r.Address):
		doc.Problemf("registry.address", "%q is not HOST or HOST:PORT", r.Address)
	}
	if p := strings.Trim(r.Prefix, "/"); p != "" && imageref.SitePath("x/"+p) != "x/"+p {
		doc.Problemf("registry.prefix", "%q is not a repository path", r.Prefix)
	}
	if r.PlainHTTP && r.CAFile != "" {
		doc.Problemf("registry.caFile", "has no use for a registry without TLS")
	}
	if s := r.PullSecretRef; s != nil && !dnsRule.MatchString(s.Name) {
		doc.Problemf("registry.pullSecretRef.name", "%q is not a Secret's name", s.Name)
	}
}
