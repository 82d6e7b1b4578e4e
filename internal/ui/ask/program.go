package ask

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Program is what Options need beside the answers: what the running program is
// and where it runs. The zero value has no environment and cannot ask.
type Program struct {
	Version  string
	Renderer []string // command line of a process that renders charts, see helm.Workers
	Builder  []string // command line of a process that builds manifests, see kustomize.NewBuilder
	// Lookup finds a variable of the environment, as os.LookupEnv does.
	Lookup func(name string) (string, bool)
	// Password asks the operator for a key's password, for a new key twice.
	Password func(newKey bool) ([]byte, error)
}

// Variables of the environment that answers are taken from.
const (
	envSourceDate = "SOURCE_DATE_EPOCH"
	envHubToken   = "HF_TOKEN"
)

// passwordVariables hold a key's password, in the order they are asked.
var passwordVariables = []string{"CAISSON_PASSWORD", "COSIGN_PASSWORD"}

// ErrNoPassword: no variable holds a key's password and nobody can be asked.
var ErrNoPassword = errors.New("the key needs a password and there is no terminal to ask at")

func (p Program) variable(name string) (string, bool) {
	if p.Lookup == nil {
		return "", false
	}
	return p.Lookup(name)
}

// password is what opens or seals a key: a variable's value, set even if empty,
// or an answer. It is asked for when the verb needs it.
func (p Program) password(newKey bool) func() ([]byte, error) {
	return func() ([]byte, error) {
		for _, name := range passwordVariables {
			if v, ok := p.variable(name); ok {
				return []byte(v), nil
			}
		}
		if p.Password == nil {
			return nil, ErrNoPassword
		}
		return p.Password(newKey)
	}
}

// hubToken is the token for the model hub, or empty.
func (p Program) hubToken() string {
	token, _ := p.variable(envHubToken)
	return token
}

// sourceDate is the time that things are said to be made at: SOURCE_DATE_EPOCH
// (Unix seconds) where it is set, so that a build can be repeated; else zero, which
// stands for the present.
func (p Program) sourceDate(c *checked) time.Time {
	s, _ := p.variable(envSourceDate)
	if s == "" {
		return time.Time{}
	}
	n, err := strconv.ParseInt(s, 10, 40)
	if err != nil || n < 0 {
		c.err = fmt.Errorf("reading %s: %q is not a number of seconds", envSourceDate, s)
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}
