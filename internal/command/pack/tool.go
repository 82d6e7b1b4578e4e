package pack

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/atomicfile"
)

// copyTools puts the tool's binaries beside the bundle, each under a name that
// says for which system it is, and returns their digests by name.
func copyTools(paths []string, dir string) (map[string]digest.Digest, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	binaries := map[string]digest.Digest{}
	for _, path := range paths {
		name, err := toolName(path)
		if err != nil {
			return nil, fmt.Errorf("reading the tool %s: %w", path, err)
		}
		if _, twice := binaries[name]; twice {
			return nil, fmt.Errorf("reading the tool %s: a second one for the same system (%s)", path, name)
		}
		if binaries[name], err = copyTool(path, filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("copying the tool %s: %w", path, err)
		}
	}
	return binaries, nil
}

// toolName asks the binary itself what it was built for.
func toolName(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if set["GOOS"] == "" || set["GOARCH"] == "" {
		return "", errors.New("it does not say for which system it was built")
	}
	name := "caisson-" + set["GOOS"] + "-" + set["GOARCH"]
	if set["GOOS"] == "windows" {
		name += ".exe"
	}
	return name, nil
}

// copyTool copies whole or not at all.
func copyTool(from, to string) (digest.Digest, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := digest.SHA256.Digester()
	if err := atomicfile.Copy(to, io.TeeReader(in, h.Hash()), 0o755); err != nil {
		return "", err
	}
	return h.Digest(), nil
}

func digestFile(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.SHA256.FromReader(f)
}
