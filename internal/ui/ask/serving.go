package ask

import (
	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/command/serve"
)

// Serve are the answers of caisson serve.
type Serve struct {
	Paths        []string
	Key          []string
	Listen       string
	TLSCert      string
	TLSKey       string
	AllowExpired bool
	SystemdUnit  bool // print a unit and serve nothing
}

// Form lists what can be said.
func (a *Serve) Form() Form {
	return Form{Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle"), Fields: []Field{
		keysField(&a.Key).required(),
		textField(&a.Listen, "listen", "`HOST:PORT` to listen on; port 0 takes a free one").required(),
		textField(&a.TLSCert, "tls-cert", "certificate `FILE` (PEM)"),
		textField(&a.TLSKey, "tls-key", "its private key `FILE` (PEM)"),
		expiredField(&a.AllowExpired),
		flagField(&a.SystemdUnit, "systemd-unit", "print a systemd unit for this call and exit"),
	}}
}

// Options checks the answers.
func (a *Serve) Options() (serve.Options, error) {
	return finish(checkForm(a.Form()), serve.Options{
		Paths: a.Paths, Keys: a.Key, Listen: a.Listen, TLSCert: a.TLSCert, TLSKey: a.TLSKey, AllowExpired: a.AllowExpired,
	})
}

// Load are the answers of caisson load.
type Load struct {
	Paths        []string
	Key          []string
	Registry     string
	PlainHTTP    bool
	CAFile       string
	Workers      string
	AllowExpired bool
	StateDir     string // means nothing any more: load keeps nothing
}

// Form lists what can be said.
func (a *Load) Form() Form {
	stateDir := stateDirField(&a.StateDir)
	stateDir.Hidden = true
	return Form{Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle"), Fields: []Field{
		keysField(&a.Key).required(),
		textField(&a.Registry, "registry", "`HOST[:PORT][/PREFIX]` to push to").required(),
		flagField(&a.PlainHTTP, "plain-http", "the registry has no TLS (a loopback address never needs it)"),
		textField(&a.CAFile, "ca-file", "certificate authority `FILE` (PEM) of the registry, beside the system's"),
		workersField(&a.Workers, "requests"),
		expiredField(&a.AllowExpired),
		stateDir,
	}}
}

// Options checks the answers.
func (a *Load) Options() (load.Options, error) {
	c := checkForm(a.Form())
	c.refuseIf(a.PlainHTTP && a.CAFile != "", "ca-file", "--ca-file has no use for a registry without TLS (--plain-http)")
	return finish(c, load.Options{
		Paths: a.Paths, Keys: a.Key, Registry: a.Registry, PlainHTTP: a.PlainHTTP, CAFile: a.CAFile,
		Workers: int(numberOf(a.Workers)), AllowExpired: a.AllowExpired,
	})
}
