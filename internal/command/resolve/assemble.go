package resolve

import (
	"slices"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
)

// assembleLock makes the lock of everything found. lock.Marshal sorts it.
func (s *session) assembleLock() *lock.Lock {
	l := &lock.Lock{
		APIVersion: lock.APIVersion, Kind: lock.KindLock,
		Metadata:   lock.Metadata{Name: s.stack.Metadata.Name, Version: s.stack.Metadata.Version, Profiles: s.stack.Carry},
		Kubernetes: lock.Kubernetes{Versions: s.stack.Kubernetes.Versions, APIVersions: s.stack.Kubernetes.APIVersions},
	}
	for _, p := range s.platforms {
		l.Platforms = append(l.Platforms, p.String())
	}
	for ref, it := range s.found.items {
		it.Components = sortedKeys(s.found.owners[ref])
		l.Items = append(l.Items, *it)
	}
	l.Drivers = s.nodes.drivers
	for i := range s.stack.Components {
		l.Components = append(l.Components, s.lockComponent(i, l.Items))
	}
	return l
}

func (s *session) lockComponent(i int, items []lock.Item) lock.Component {
	comp := &s.stack.Components[i]
	c := lock.Component{
		Name: comp.Name, License: comp.License, Needs: slices.Clone(comp.Needs), After: comp.Others(), Namespace: comp.Namespace, Optional: comp.Optional,
	}
	for j := range comp.Charts {
		c.Releases = append(c.Releases, s.found.releases[[2]int{i, j}])
	}
	for j := range len(comp.Manifests) + len(comp.UpstreamManifests) {
		c.Manifests = append(c.Manifests, s.found.listed[[2]int{i, j}])
	}
	for _, it := range items {
		if it.Kind.Info().Listed && slices.Contains(it.Components, comp.Name) {
			c.Items = append(c.Items, it.Ref)
		}
	}
	for _, name := range sortedKeys(s.found.crds[comp.Name]) {
		c.CRDs = append(c.CRDs, s.found.crds[comp.Name][name])
	}
	for _, r := range comp.Ready {
		c.Ready = append(c.Ready, lockCondition(r))
	}
	c.Allow = rules(comp)
	return c
}

func lockCondition(c stack.Condition) lock.Condition {
	return lock.Condition{APIVersion: c.APIVersion, Kind: c.Kind, Name: c.Name, Namespace: c.Namespace, Condition: c.Condition}
}
