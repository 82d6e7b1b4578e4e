package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/event"
)

// checkQuotas holds what the plan takes of each namespace against its quotas and
// limit ranges.
func (m *maker) checkQuotas() {
	bySpace := map[string][]ownedPart{}
	for _, p := range m.allParts() {
		bySpace[p.Namespace] = append(bySpace[p.Namespace], p)
	}
	for _, name := range slices.Sorted(maps.Keys(m.facts.Cluster.Spaces)) {
		space := m.facts.Cluster.Spaces[name]
		sum := map[string]int64{}
		for _, p := range bySpace[name] {
			m.checkRanges(p, space)
			m.findUnstated(p, space)
			if !p.Exists {
				for k, n := range p.quotaUse(space) {
					sum[k] += n
				}
			}
		}
		for _, q := range space.Quotas {
			m.checkQuota(name, q, sum)
		}
	}
}

func (m *maker) checkQuota(namespace string, q QuotaFact, sum map[string]int64) {
	for _, what := range slices.Sorted(maps.Keys(q.Hard)) {
		need, left := sum[quotaName(what)], q.Hard[what]-q.Used[what]
		if need <= left || need == 0 {
			continue
		}
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeQuota,
			What: fmt.Sprintf("quota %s of namespace %s leaves %s of %s, and the plan takes %s", q.Name, namespace, showAmount(what, max(left, 0)), what, showAmount(what, need)),
			Why:  "the API server refuses what goes beyond a quota",
			Hint: fmt.Sprintf("raise it: kubectl edit resourcequota %s -n %s; or lower requests or replicas in the values of the site file", q.Name, namespace),
		})
	}
}

// quotaName is the one name of what has two in quotas.
func quotaName(s string) string {
	switch s {
	case "cpu", "memory", "ephemeral-storage":
		return "requests." + s
	case "count/pods":
		return "pods"
	}
	return s
}

// stated are what a pod's containers must state where a quota counts it.
var stated = []string{"requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}

// findUnstated finds containers that state nothing of what a quota counts.
func (m *maker) findUnstated(p ownedPart, space SpaceFact) {
	for _, q := range space.Quotas {
		for what := range q.Hard {
			name := quotaName(what)
			if p.Copies == 0 || !slices.Contains(stated, name) {
				continue
			}
			for _, c := range p.Containers {
				if _, ok := space.withDefaults(c)[name]; !ok {
					m.addFinding(event.Finding{
						Severity: event.Error, Code: event.CodeQuotaUnstated, Item: p.component,
						What: fmt.Sprintf("container %s of %s (%s) states no %s, which quota %s of namespace %s counts", c.Name, p, p.location(), name, q.Name, space.Name),
						Why:  "the API server refuses pods that do not state what a quota counts",
						Hint: "set the container's resources in the component's values, or give the namespace a LimitRange with defaults",
					})
				}
			}
		}
	}
}

// withDefaults is what a container comes to state: its own words, then the defaults of
// the namespace; a limit stands for a request that is missing.
func (s SpaceFact) withDefaults(c Container) map[string]int64 {
	out := map[string]int64{}
	set := func(prefix string, list map[string]int64) {
		for k, v := range list {
			if _, ok := out[prefix+k]; !ok {
				out[prefix+k] = v
			}
		}
	}
	set("limits.", c.Limits)
	set("requests.", c.Requests)
	set("requests.", c.Limits)
	for _, r := range s.Ranges {
		set("limits.", r.Limits)
		set("requests.", r.Requests)
	}
	return out
}

// quotaUse is what a part takes of the quotas of its namespace.
func (p ownedPart) quotaUse(space SpaceFact) map[string]int64 {
	out := map[string]int64{}
	for _, c := range p.Counts {
		out[c] += 1000
	}
	for _, c := range p.Claims {
		out["requests.storage"] += c.Size * c.Count * 1000
		if p.Kind != "PersistentVolumeClaim" {
			out["persistentvolumeclaims"] += c.Count * 1000
			out["count/persistentvolumeclaims"] += c.Count * 1000
		}
	}
	if p.Copies > 0 {
		out["pods"] += p.Copies * 1000
	}
	for k, v := range p.podSum(space.withDefaults) {
		out[k] += v * p.Copies
	}
	return out
}

// podSum is what one pod takes of what its containers ask: all that run together,
// or the one of those before them that takes more.
func (p Part) podSum(asks func(Container) map[string]int64) map[string]int64 {
	run, start := map[string]int64{}, map[string]int64{}
	for _, c := range p.Containers {
		for k, v := range asks(c) {
			if c.Init {
				start[k] = max(start[k], v)
			} else {
				run[k] += v
			}
		}
	}
	for k, v := range start {
		run[k] = max(run[k], v)
	}
	return run
}

// checkRanges finds containers beyond what a LimitRange allows.
func (m *maker) checkRanges(p ownedPart, space SpaceFact) {
	for _, r := range space.Ranges {
		for _, c := range p.Containers {
			for _, broken := range r.brokenLimits(c, space.withDefaults(c)) {
				m.addFinding(event.Finding{
					Severity: event.Error, Code: event.CodeLimitRange, Item: p.component,
					What: fmt.Sprintf("container %s of %s (%s) %s, by LimitRange %s of namespace %s", c.Name, p, p.location(), broken, r.Name, space.Name),
					Why:  "the API server refuses its pods",
					Hint: fmt.Sprintf("set the container's resources in the component's values, or: kubectl edit limitrange %s -n %s", r.Name, space.Name),
				})
			}
		}
	}
}

func (r RangeFact) brokenLimits(c Container, filled map[string]int64) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(r.Max)) {
		if v, ok := filled["limits."+k]; !ok {
			out = append(out, fmt.Sprintf("states no limit of %s, which may be %s at most", k, showAmount(k, r.Max[k])))
		} else if v > r.Max[k] {
			most := showAmount(k, r.Max[k])
			out = append(out, fmt.Sprintf("has a limit of %s %s, at most %s", showAmount(k, v), k, most))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.Min)) {
		if v, ok := filled["requests."+k]; !ok || v < r.Min[k] {
			out = append(out, fmt.Sprintf("requests %s %s, at least %s", showAmount(k, v), k, showAmount(k, r.Min[k])))
		}
	}
	return out
}

// showAmount writes thousandths of a resource for people.
func showAmount(what string, n int64) string {
	switch {
	case strings.HasSuffix(what, "memory"), strings.HasSuffix(what, "storage"):
		return bytesize.Text(n / 1000)
	case n%1000 != 0:
		return fmt.Sprintf("%dm", n)
	}
	return fmt.Sprint(n / 1000)
}
