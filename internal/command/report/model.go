package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
)

// APIVersion and Kind head report.json.
const (
	APIVersion = "caisson.dev/v1alpha1"
	Kind       = "Report"
)

// Report is everything the page shows.
type Report struct {
	APIVersion  string         `json:"apiVersion"`
	Kind        string         `json:"kind"`
	Generated   time.Time      `json:"generated"`
	Tool        string         `json:"tool,omitempty"`
	Source      string         `json:"source"` // where the journal was read
	Stack       string         `json:"stack"`
	Version     string         `json:"version,omitempty"`
	Generation  int            `json:"generation,omitempty"`
	Cluster     Cluster        `json:"cluster"`
	Missing     []string       `json:"missing,omitempty"` // what the report lacks, and why
	Components  []Component    `json:"components"`
	Items       []Item         `json:"items,omitempty"`
	Composition []Share        `json:"composition,omitempty"`
	Bytes       int64          `json:"bytes,omitempty"` // of payload, each blob once
	Trust       []Trust        `json:"trust"`
	Ledger      *ledger.Ledger `json:"ledger,omitempty"`
	Runs        []journal.Run  `json:"runs"`
}

// Cluster names the cluster.
type Cluster struct {
	UID     string `json:"uid"`
	Server  string `json:"server,omitempty"`
	Version string `json:"version,omitempty"`
}

// Component is one installed component.
type Component struct {
	Name      string       `json:"name"`
	Version   string       `json:"version"` // of the stack it comes from
	Namespace string       `json:"namespace"`
	Needs     []string     `json:"needs,omitempty"`
	Complete  bool         `json:"complete"`
	Releases  []Release    `json:"releases,omitempty"`
	Objects   []object.Ref `json:"objects,omitempty"` // of releases and manifests
	CanGoBack string       `json:"canGoBack,omitempty"`
}

// Release is one Helm release.
type Release struct {
	Name         string        `json:"name"`
	Revision     int           `json:"revision"`
	Chart        imageref.Ref  `json:"chart"`
	ChartDigest  digest.Digest `json:"chartDigest"`
	ValuesDigest digest.Digest `json:"valuesDigest"`
}

// Item is one line of provenance.
type Item struct {
	Ref        imageref.Ref  `json:"ref"`
	Kind       lock.Kind     `json:"kind"`
	Components []string      `json:"components"`
	Size       int64         `json:"size"` // of all its blobs
	Digest     digest.Digest `json:"digest,omitempty"`
	Source     string        `json:"source"`
	FoundBy    []string      `json:"foundBy,omitempty"`
	License    string        `json:"license,omitempty"`
	Notes      []string      `json:"notes,omitempty"`   // what else its lock says of it
	Subject    digest.Digest `json:"subject,omitempty"` // of a referrer: what it speaks of
}

// Share is the payload of one kind in one component. A blob that several items
// use counts for the first of them.
type Share struct {
	Component string    `json:"component"`
	Kind      lock.Kind `json:"kind"`
	Bytes     int64     `json:"bytes"`
	Items     int       `json:"items"`
}

// Trust is one verification of a bundle at this site.
type Trust struct {
	When     time.Time        `json:"when"`
	What     string           `json:"what"`
	Index    digest.Digest    `json:"index"`
	Sequence int64            `json:"sequence"`
	KeyIDs   []string         `json:"keyIDs"`
	Operator journal.Operator `json:"operator"`
	Result   string           `json:"result"`
}

// build makes a report from its sources.
func build(s *sources) *Report {
	r := &Report{
		APIVersion: APIVersion, Kind: Kind, Source: s.origin, Stack: s.journal.Stack, Missing: s.missing,
		Cluster: Cluster{UID: s.journal.Cluster, Server: s.server, Version: s.version},
		Runs:    s.journal.Runs, Components: []Component{}, Trust: []Trust{},
	}
	if last := s.journal.Last(); last != nil {
		r.Generation = last.Generation
	}
	r.Version = versions(s.journal)
	for _, c := range s.journal.Installed {
		r.Components = append(r.Components, component(c))
	}
	r.Ledger = s.ledger
	r.Trust = trust(s.journal)
	if s.lock != nil {
		r.Items, r.Composition, r.Bytes = provenance(s.lock)
	}
	return r
}

// versions are those of the stack that installed components come from.
func versions(j *journal.Journal) string {
	var list []string
	for _, c := range j.Installed {
		list = append(list, c.Version)
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(list))), ", ")
}

func component(c journal.Installed) Component {
	out := Component{Name: c.Name, Version: c.Version, Namespace: c.Namespace, Needs: c.Needs, Complete: c.Complete, Objects: slices.Clone(c.Objects)}
	for _, r := range c.Releases {
		out.Releases = append(out.Releases, Release{Name: r.Name, Revision: r.Revision, Chart: r.Chart, ChartDigest: r.ChartDigest, ValuesDigest: r.ValuesDigest})
		out.Objects = append(out.Objects, r.Objects...)
	}
	if c.Former != nil {
		out.CanGoBack = c.Former.Version
	}
	return out
}

// trust lists the times a signature was accepted before anything was done.
func trust(j *journal.Journal) []Trust {
	out := []Trust{}
	for _, r := range j.Runs {
		if len(r.KeyIDs) == 0 {
			continue
		}
		out = append(out, Trust{
			When: r.Began, What: "signature of the bundle, before " + string(r.Verb), Index: r.Index,
			Sequence: r.Sequence, KeyIDs: r.KeyIDs, Operator: r.Operator, Result: "accepted",
		})
	}
	return out
}

// provenance reads the lock: its items, and what of the payload each component
// and kind makes up.
func provenance(l *lock.Lock) (items []Item, shares []Share, total int64) {
	size, own := map[imageref.Ref]int64{}, map[imageref.Ref]int64{}
	for _, s := range l.Slots() {
		total += s.Size
		for i, ref := range s.Items {
			size[ref] += s.Size
			if i == 0 {
				own[ref] += s.Size
			}
		}
	}
	type key struct {
		component string
		kind      lock.Kind
	}
	sum := map[key]*Share{}
	for _, it := range l.Items {
		items = append(items, item(it, size[it.Ref]))
		k := key{"(none)", it.Kind}
		if len(it.Components) > 0 {
			k.component = it.Components[0]
		}
		if sum[k] == nil {
			sum[k] = &Share{Component: k.component, Kind: k.kind}
		}
		sum[k].Items++
		sum[k].Bytes += own[it.Ref]
	}
	for _, s := range sum {
		shares = append(shares, *s)
	}
	slices.SortFunc(shares, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Component, b.Component), cmp.Compare(a.Kind, b.Kind))
	})
	return items, shares, total
}

func item(it lock.Item, size int64) Item {
	d := it.Describe(it.Digest)
	return Item{
		Ref: it.Ref, Kind: it.Kind, Components: it.Components, Size: size, Digest: d.Digest,
		Source: it.Source, FoundBy: it.FoundBy, License: d.License(), Notes: d.Notes, Subject: it.Subject,
	}
}
