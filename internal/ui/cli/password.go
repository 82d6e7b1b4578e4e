package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/caisson/caisson/internal/ui/ask"
)

// askPassword asks for a key's password at the terminal, for a new key twice.
func (a *app) askPassword(newKey bool) (answer []byte, err error) {
	in, ok := a.streams.In.(*os.File)
	if !ok || !isTerminal(in) {
		return nil, &usageError{
			text: ask.ErrNoPassword.Error(),
			hint: "set CAISSON_PASSWORD (or COSIGN_PASSWORD); empty means no password",
		}
	}
	undrawn := func(f func()) { f() }
	if a.text != nil {
		undrawn = a.text.Pause
	}
	undrawn(func() {
		answer, err = a.prompt(in, "Password for the key: ")
		if err != nil || !newKey {
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
