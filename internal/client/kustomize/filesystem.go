package kustomize

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// fileSystem is what kustomize reads: the archives, which the asking program has, and files
// of the worker's own. Nothing in it can be written.
type fileSystem struct {
	worker *worker
	own    map[string][]byte // by absolute path
	failed error             // what a kustomization was refused for: kustomize says that there is none
}

var errReadOnly = errors.New("nothing is written in a build")

// CleanedAbs says what lies at a path: a folder, or a file in one.
func (f *fileSystem) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	name = path.Join("/", filepath.ToSlash(name))
	if name == "/" {
		return "/", "", nil
	}
	if _, ours := f.own[name]; ours {
		return filesys.ConfirmedDir(path.Dir(name)), path.Base(name), nil
	}
	r, err := f.worker.ask(message{Stat: name})
	switch {
	case err != nil:
		return "", "", err
	case r.Found.Path == "":
		return "", "", fmt.Errorf("'%s' doesn't exist", name)
	case r.Found.Folder:
		return filesys.ConfirmedDir(r.Found.Path), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(r.Found.Path)), path.Base(r.Found.Path), nil
}

// ReadFile reads a file. In a kustomization, what lies outside is named by where it was
// put.
func (f *fileSystem) ReadFile(name string) ([]byte, error) {
	name = path.Join("/", filepath.ToSlash(name))
	if text, ours := f.own[name]; ours {
		return text, nil
	}
	r, err := f.worker.ask(message{Read: name})
	if err != nil {
		return nil, err
	}
	if !slices.Contains(kustomizationNames, path.Base(name)) {
		return r.Data, nil
	}
	text, err := f.placeRemotes(name, r.Data)
	if err != nil {
		f.failed = cmp.Or(f.failed, err)
		return nil, err
	}
	f.own[name] = text
	return text, nil
}

// addRemoteFile puts a file beside the kustomization that names it, and returns how it is
// called there.
func (f *fileSystem) addRemoteFile(folder, name string, data []byte) string {
	base, _, _ := strings.Cut(path.Base(name), "?")
	inside := fmt.Sprintf(".caisson/%d/%s", len(f.own), strings.Map(nameLetter, base))
	f.own[path.Join(folder, inside)] = data
	return inside
}

func nameLetter(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
		return r
	}
	return '-'
}

// Exists says whether something lies at a path.
func (f *fileSystem) Exists(name string) bool {
	_, _, err := f.CleanedAbs(name)
	return err == nil
}

// IsDir says whether a folder lies at a path.
func (f *fileSystem) IsDir(name string) bool {
	_, file, err := f.CleanedAbs(name)
	return err == nil && file == ""
}

// What kustomize does not do with a file system from which it builds.

func (f *fileSystem) Create(string) (filesys.File, error)  { return nil, errReadOnly }
func (f *fileSystem) Mkdir(string) error                   { return errReadOnly }
func (f *fileSystem) MkdirAll(string) error                { return errReadOnly }
func (f *fileSystem) RemoveAll(string) error               { return errReadOnly }
func (f *fileSystem) WriteFile(string, []byte) error       { return errReadOnly }
func (f *fileSystem) Open(string) (filesys.File, error)    { return nil, fs.ErrInvalid }
func (f *fileSystem) ReadDir(string) ([]string, error)     { return nil, fs.ErrInvalid }
func (f *fileSystem) Glob(string) ([]string, error)        { return nil, fs.ErrInvalid }
func (f *fileSystem) Walk(string, filepath.WalkFunc) error { return fs.ErrInvalid }
