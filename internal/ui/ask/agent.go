package ask

import (
	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/client/keeper"
)

// AgentMirror is what a manifest says to caisson agent mirror.
type AgentMirror struct {
	Config           string
	ConfigDigest     string
	Containerd       string
	ContainerdConfig string
	Login            string
	CRIO             string
	CRIOCerts        string
	Status           string
	Remove           bool
	Once             bool
}

// Form lists what can be said.
func (a *AgentMirror) Form() Form {
	return Form{Fields: []Field{
		textField(&a.Config, "config", "what to keep: `FILE` of JSON").required(),
		textField(&a.ConfigDigest, "config-digest", "`DIGEST` that the file must have"),
		textField(&a.Containerd, "containerd", "`DIR` that is containerd's certs.d"),
		textField(&a.ContainerdConfig, "containerd-config", "`DIR` that holds containerd's config.toml, to read"),
		textField(&a.Login, "login", "`FILE` that is the .dockerconfigjson with the registry's login"),
		textField(&a.CRIO, "crio", "`DIR` that is CRI-O's registries.conf.d"),
		textField(&a.CRIOCerts, "crio-certs", "`DIR` that is CRI-O's certs.d"),
		textField(&a.Status, "status", "`FILE` to write what was seen to"),
		flagField(&a.Remove, "remove", "take the files away and put back what was there"),
		flagField(&a.Once, "once", "look once and end"),
	}}
}

// Options checks the answers.
func (a *AgentMirror) Options() (keeper.Options, error) {
	return finish(checkForm(a.Form()), keeper.Options{
		Config: a.Config, Digest: digest.Digest(a.ConfigDigest), Containerd: a.Containerd, RuntimeDir: a.ContainerdConfig,
		Login: a.Login, CRIO: a.CRIO, CRIOCerts: a.CRIOCerts, Status: a.Status, Remove: a.Remove, Once: a.Once,
	})
}

// AgentStatus is what a manifest says to caisson agent status.
type AgentStatus struct{ Status string }

// Form lists what can be said.
func (a *AgentStatus) Form() Form {
	return Form{Fields: []Field{textField(&a.Status, "status", "`FILE` that the agent writes").required()}}
}

// Options checks the answers and returns the file.
func (a *AgentStatus) Options() (string, error) { return finish(checkForm(a.Form()), a.Status) }

// AgentProbe is what a manifest says to caisson agent probe.
type AgentProbe struct {
	Host string
	Once bool
}

// AgentProbeOptions are what a probe needs.
type AgentProbeOptions struct {
	Host string // below it the node's sys and etc lie
	Name string // of the node, or empty
	Once bool   // end after the line
}

// Form lists what can be said.
func (a *AgentProbe) Form() Form {
	return Form{Fields: []Field{
		textField(&a.Host, "host", "`DIR` below which the node's sys and etc lie").required(),
		flagField(&a.Once, "once", "end after the line"),
	}}
}

// Options checks the answers.
func (a *AgentProbe) Options(p Program) (AgentProbeOptions, error) {
	name, _ := p.variable("NODE_NAME")
	return finish(checkForm(a.Form()), AgentProbeOptions{Host: a.Host, Name: name, Once: a.Once})
}
