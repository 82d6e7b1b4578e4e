package ask

import (
	"fmt"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
)

// Resolve are the answers of caisson resolve.
type Resolve struct {
	File, Out    string
	Upstreams    string
	AllPlatforms bool
	WithTests    bool
	Profile      []string
	Platform     []string
	Nodes        string
	Workers      string
}

// Form lists what can be said.
func (a *Resolve) Form() Form {
	platforms := listField(&a.Platform, "platform", "`OS/ARCH` to carry in place of the stack's; repeat for more")
	platforms.commas = true
	nodes := textField(&a.Nodes, "nodes",
		"`SITE-NODES.yaml` that caisson nodes export wrote: carry these nodes' drivers and platforms")
	return Form{Fields: []Field{
		textField(&a.File, "file", "the stack: `STACK.yaml`, or the name of one that comes with caisson").short("f").required(),
		textField(&a.Out, "out", "the lock to write: `LOCK.yaml`").short("o").required(),
		upstreamsField(&a.Upstreams),
		flagField(&a.AllPlatforms, "all-platforms",
			"carry every platform of each image, for a registry that takes no index with parts missing"),
		flagField(&a.WithTests, "with-tests", "carry and lint what only `helm test` runs as well"),
		profileField(&a.Profile, "carry"),
		platforms,
		nodes.formerly("site"),
		workersField(&a.Workers, "items"),
	}}
}

// Options checks the answers.
func (a *Resolve) Options(p Program) (resolve.Options, error) {
	c := checkForm(a.Form())
	return finish(c, resolve.Options{
		Stack: a.File, Output: a.Out, Upstreams: a.Upstreams, Platforms: a.Platform, AllPlatforms: a.AllPlatforms,
		WithTests: a.WithTests, Profiles: a.Profile,
		Nodes: a.Nodes, Workers: int(numberOf(a.Workers)), Renderer: p.Renderer, Builder: p.Builder, Now: p.sourceDate(c), HubToken: p.hubToken(),
	})
}

// Pack are the answers of caisson pack.
type Pack struct {
	Lock       string
	Out        string
	SigningKey string
	Upstreams  string
	VolumeSize string
	Workers    string
	Sequence   string
	Expires    string
	Tool       []string
	Reuse      []string
}

// Form lists what can be said.
func (a *Pack) Form() Form {
	size := sizeField(&a.VolumeSize, "volume-size", "`SIZE` of a volume file, a multiple of 1MiB")
	size.Default = fmt.Sprintf("%dMiB", bundle.DefaultVolumeSize>>20)
	return Form{Arguments: oneArgument(&a.Lock, "one LOCK.yaml"), Fields: []Field{
		textField(&a.Out, "out", "`DIR` for the bundle's files").short("o").required(),
		signingKeyField(&a.SigningKey, "private key `FILE` to sign with; without it the bundle is not signed"),
		upstreamsField(&a.Upstreams),
		size,
		workersField(&a.Workers, "blobs"),
		numberField(&a.Sequence, "sequence", "release number `N`, which grows with each release (default: the time)"),
		spanField(&a.Expires, "expires", "how long the signature counts, such as 90d (default: for ever)"),
		listField(&a.Tool, "tool", "caisson binary `FILE` to put beside the bundle; repeat for more"),
		listField(&a.Reuse, "reuse", "`DIR` of an older bundle: what it has is not fetched; repeat for more"),
	}}
}

// Options checks the answers.
func (a *Pack) Options(p Program) (pack.Options, error) {
	c := checkForm(a.Form())
	return finish(c, pack.Options{
		Lock: a.Lock, Output: a.Out, Key: a.SigningKey, Password: p.password(false), Upstreams: a.Upstreams,
		VolumeSize: sizeOf(a.VolumeSize), Workers: int(numberOf(a.Workers)), Sequence: numberOf(a.Sequence),
		Expires: spanOf(a.Expires), Tool: a.Tool, Reuse: a.Reuse, Builder: p.Builder, Now: p.sourceDate(c), HubToken: p.hubToken(),
	})
}
