package keeper

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// containerdFiles are the files for containerd, with the registry's login where the
// configuration wants one. When the login is missing, they come without it, as makeshifts,
// together with the error.
func (a *agent) containerdFiles(c mirror.Config) ([]mirror.File, error) {
	files := c.Containerd()
	if !c.Login || a.opt.Remove || a.opt.Containerd == "" {
		return files, nil
	}
	login, err := readLogin(a.opt.Login, c.RegistryHost())
	for i := range files {
		if err == nil {
			files[i] = files[i].WithLogin(login)
		} else {
			files[i].Makeshift = files[i].LogsInTo != ""
		}
	}
	return files, err
}

// readLogin reads the login for a registry out of a pull secret's file. No error quotes
// what is in it.
func readLogin(path, host string) (mirror.Login, error) {
	data, err := atomicfile.ReadFile(path, maxLogin)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it does not exist, or has no " + mirror.LoginFile)
	}
	var login mirror.Login
	if err == nil {
		login, err = mirror.ParseLogin(data, host)
	}
	if err != nil {
		return login, fmt.Errorf("reading the registry's pull secret: %w", err)
	}
	return login, nil
}
