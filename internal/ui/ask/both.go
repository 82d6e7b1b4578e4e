package ask

import (
	"github.com/caisson/caisson/internal/command/inspect"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/verify"
)

// Keys are the answers of caisson keys generate.
type Keys struct{ Out string }

// KeysOptions are what making keys needs.
type KeysOptions struct {
	Output   string // directory for caisson.key and caisson.pub
	Password func() ([]byte, error)
}

// Form lists what can be said.
func (a *Keys) Form() Form {
	return Form{Fields: []Field{
		textField(&a.Out, "out", "`DIR` for caisson.key and caisson.pub").short("o").required(),
	}}
}

// Options checks the answers.
func (a *Keys) Options(p Program) (KeysOptions, error) {
	return finish(checkForm(a.Form()), KeysOptions{Output: a.Out, Password: p.password(true)})
}

// Sign are the answers of caisson sign.
type Sign struct {
	Paths       []string
	SigningKey  string
	Countersign []string
	Sequence    string
	Expires     string
}

// Form lists what can be said.
func (a *Sign) Form() Form {
	return Form{Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle's head"), Fields: []Field{
		signingKeyField(&a.SigningKey, "private key `FILE` to sign with").required(),
		listField(&a.Countersign, "countersign", "public key `FILE.pub` of a first signer; repeat for more"),
		numberField(&a.Sequence, "sequence", "release number `N` (default: that of the earlier signature)"),
		spanField(&a.Expires, "expires", "how long the signature counts, such as 90d (default: as the earlier one)"),
	}}
}

// Options checks the answers.
func (a *Sign) Options(p Program) (pack.SignOptions, error) {
	c := checkForm(a.Form())
	return finish(c, pack.SignOptions{
		Paths: a.Paths, Key: a.SigningKey, Password: p.password(false), Countersign: a.Countersign,
		Sequence: numberOf(a.Sequence), Expires: spanOf(a.Expires), Now: p.sourceDate(c),
	})
}

// Verify are the answers of caisson verify.
type Verify struct {
	Paths   []string
	Key     []string
	Workers string
}

// Form lists what can be said.
func (a *Verify) Form() Form {
	return Form{Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle"), Fields: []Field{
		keysField(&a.Key).required(),
		workersField(&a.Workers, "blocks are hashed"),
	}}
}

// Options checks the answers.
func (a *Verify) Options() (verify.Options, error) {
	return finish(checkForm(a.Form()), verify.Options{Paths: a.Paths, Keys: a.Key, Workers: int(numberOf(a.Workers))})
}

// Inspect are the answers of caisson inspect.
type Inspect struct {
	Paths []string
	Key   []string
}

// Form lists what can be said.
func (a *Inspect) Form() Form {
	return Form{
		Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle's head"),
		Fields:    []Field{keysField(&a.Key)},
	}
}

// Options checks the answers.
func (a *Inspect) Options() (inspect.Options, error) {
	return finish(checkForm(a.Form()), inspect.Options{Paths: a.Paths, Keys: a.Key})
}

// Diff are the answers of caisson diff: the older and the newer path.
type Diff struct{ Paths []string }

// DiffOptions are what comparing needs.
type DiffOptions struct{ Older, Newer string }

// Form lists what can be said.
func (a *Diff) Form() Form {
	return Form{Arguments: Arguments{Words: "PATH_A and PATH_B", Least: 2, Most: 2, list: &a.Paths}}
}

// Options checks the answers.
func (a *Diff) Options() (DiffOptions, error) {
	c := checkForm(a.Form())
	if len(a.Paths) != 2 {
		return finish(c, DiffOptions{})
	}
	return finish(c, DiffOptions{Older: a.Paths[0], Newer: a.Paths[1]})
}
