package stack

import (
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
)

const (
	ociScheme     = "oci://"
	shippedScheme = "caisson://"
)

// Image is the j-th of the component's images in its whole form. [Parse] has
// found it to be a reference.
func (c *Component) Image(j int) (imageref.Ref, error) { return imageref.Parse(c.Images[j]) }

// InRegistry says whether a registry has the chart, and not an HTTP repository.
func (ch *Chart) InRegistry() bool { return strings.HasPrefix(ch.Source, ociScheme) }

// Shipped is the name of the chart where it comes with the program.
func (ch *Chart) Shipped() (name string, ok bool) { return strings.CutPrefix(ch.Source, shippedScheme) }

// UpstreamName is what the chart is called where it comes from.
func (ch *Chart) UpstreamName() string {
	switch {
	case ch.Chart != "":
		return ch.Chart
	case strings.HasPrefix(ch.Source, "http"):
		return ch.Name
	}
	return ch.Source[strings.LastIndex(ch.Source, "/")+1:]
}

// Repository is where the chart lies in a registry; its versions are the tags.
func (ch *Chart) Repository() (imageref.Ref, error) {
	return imageref.Parse(strings.TrimSuffix(strings.TrimPrefix(ch.Source, ociScheme), "/"))
}
