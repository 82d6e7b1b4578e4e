package helm

import (
	"time"
	_ "unsafe" // for go:linkname
)

// templateFunctions are the functions of templates that Helm takes from sprig.
//
//go:linkname templateFunctions github.com/Masterminds/sprig/v3.genericMap
var templateFunctions map[string]any

// setClock lets `now` in templates be what it is or, ahead, another year, month, day,
// hour, minute and second, for all of the process: what the time decides then shows
// by rendering once so and once not. Only a worker calls it, before it renders.
func setClock(ahead bool) {
	templateFunctions["now"] = time.Now
	if ahead {
		templateFunctions["now"] = func() time.Time {
			return time.Now().AddDate(1, 1, 1).Add(time.Hour + time.Minute + time.Second)
		}
	}
}
