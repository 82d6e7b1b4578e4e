package decide

import (
	"time"

	"github.com/caisson/caisson/internal/api/plan"
)

// What an installation takes besides pulling images, reckoned for objects that
// become ready at once: a lower bound, stated wherever it is shown.
const (
	perRelease = 2 * time.Second
	perApply   = time.Second // definitions or manifests of a component
)

// DefaultRate is that of a link of one Gbit/s, in bytes per second.
const DefaultRate = 112 << 20

// Estimate is how long an installation takes.
type Estimate struct {
	Rate  int64 // bytes per second
	Pull  time.Duration
	Apply time.Duration
}

// Total is the sum.
func (e Estimate) Total() time.Duration { return e.Pull + e.Apply }

// EstimateOf reckons with every byte of the images being pulled once by one node
// at rate bytes per second, one component after the other; rate 0 is
// DefaultRate. What programs need to start is not in it.
func EstimateOf(p *plan.Plan, rate int64) Estimate {
	if rate <= 0 {
		rate = DefaultRate
	}
	e := Estimate{Rate: rate, Pull: time.Duration(float64(p.Bytes.Total) / float64(rate) * float64(time.Second))}
	for _, c := range p.Components {
		for _, r := range c.Releases {
			if r.Action != plan.Keep {
				e.Apply += perRelease
			}
		}
		if len(c.CRDs) > 0 {
			e.Apply += perApply
		}
		if len(c.Manifests) > 0 {
			e.Apply += perApply
		}
	}
	return e
}
