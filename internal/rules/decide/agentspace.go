package decide

import (
	"fmt"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

// agentNamespace is where the node agent runs.
const agentNamespace = "caisson-system"

// agentSpace finds an existing namespace of the node agent that does not admit
// it. One that does not exist yet is made without a level.
func (m *maker) agentSpace() {
	if m.selection.site.Mirrors() != plan.Mirror {
		return
	}
	level := m.facts.Cluster.Spaces[agentNamespace].Enforce
	if level != "baseline" && level != "restricted" {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Error, Code: event.CodeAgentPodSecurity, Item: plan.MirrorComponent,
		What: fmt.Sprintf("namespace %s enforces Pod Security level %s, and the node agent mounts directories of the node", agentNamespace, level),
		Why:  "no pod of the agent would be made, and no node would know the mirrors",
		Hint: fmt.Sprintf("kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite; or use references: [rewrite] in the site file", agentNamespace),
	})
}
