package resolve

import (
	"context"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/agent"
)

// agentTask makes the node agent's image, where the stack asks for it.
func (s *session) agentTask() []task {
	if !s.stack.Agent {
		return nil
	}
	at := stackField{field: "agent", what: "the node agent's image"}
	return []task{func(context.Context) {
		s.resolveItem(lock.Image, lock.ToolRepository, at, func() (int64, evidence, error) {
			im, err := agent.Build(s.agent)
			if err != nil {
				return 0, evidence{}, err
			}
			s.found.addItem(im.Item())
			return im.Layer.Size, evidence{}, nil
		})
	}}
}
