package decide

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

func TestReferencesThatStayNeedAMirror(t *testing.T) {
	for name, c := range map[string]struct {
		references []string
		want       bool
	}{"rewrite": {nil, true}, "mirror": {[]string{plan.Mirror}, false}, "both": {[]string{plan.Rewrite, plan.Mirror}, false}} {
		_, found := decide(t, func(l *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts) {
			withAgent(l, f)
			s.References = c.references
			web := r[Key{"web", "web"}]
			web.Images = append(web.Images, document.Site{What: document.Image, Ref: "nginx:1", Template: "web/templates/cm.yaml", Line: 12, Certainty: document.Joined, Kept: true})
			r[Key{"web", "web"}] = web
		})
		f := of(found, "reference-kept")
		if (f != nil) != c.want {
			t.Errorf("%s: %+v", name, found)
		}
		if f != nil && (f.Severity != event.Warn || !strings.Contains(f.What, "nginx:1") || !strings.Contains(f.What, "web/templates/cm.yaml line 12") || !strings.Contains(f.Hint, "[mirror, rewrite]")) {
			t.Errorf("%+v", f)
		}
	}
}
