package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// Variables that hold a key's password, in the order they are asked.
var passwordVariables = []string{"CAISSON_PASSWORD", "COSIGN_PASSWORD"}

// password returns what opens or seals a key: a variable's value, set even if
// empty, or an answer typed at the terminal, twice for a new key.
func (a *app) password(fresh bool) func() ([]byte, error) {
	return func() ([]byte, error) {
		for _, name := range passwordVariables {
			if v, ok := os.LookupEnv(name); ok {
				return []byte(v), nil
			}
		}
		in, ok := a.streams.In.(*os.File)
		if !ok || !isTerminal(in) {
			return nil, &usageError{text: "the key needs a password and there is no terminal to ask at",
				hint: "set CAISSON_PASSWORD (or COSIGN_PASSWORD); empty means no password"}
		}
		return a.ask(in, fresh)
	}
}

func (a *app) ask(in *os.File, fresh bool) (answer []byte, err error) {
	quietly := func(f func()) { f() }
	if a.text != nil {
		quietly = a.text.Pause
	}
	quietly(func() {
		answer, err = a.prompt(in, "Password for the key: ")
		if err != nil || !fresh {
			return
		}
		var again []byte
		if again, err = a.prompt(in, "The same again: "); err == nil && !bytes.Equal(answer, again) {
			err = errors.New("asking for a password: the two answers differ")
		}
	})
	return answer, err
}

func (a *app) prompt(in *os.File, question string) ([]byte, error) {
	fmt.Fprint(a.streams.Err, question)
	answer, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.streams.Err)
	if err != nil {
		return nil, fmt.Errorf("asking for a password: %w", err)
	}
	return answer, nil
}
