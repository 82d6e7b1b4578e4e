package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// ErrNotRead: containerd is configured so that it does not read ContainerdDir.
var ErrNotRead = errors.New("containerd does not read " + mirror.ContainerdDir)

// ErrDoubtful: it is not certain that containerd reads ContainerdDir.
var ErrDoubtful = errors.New("containerd may not read " + mirror.ContainerdDir)

// criPlugins are the tables that hold the registry's config_path, by the
// generations of containerd.
var criPlugins = []string{"io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "cri"}

// CheckContainerd reads config.toml and what it imports below dir, containerd's
// own directory, and says whether containerd looks into ContainerdDir. Errors
// wrap ErrNotRead, ErrDoubtful or those of reading.
func CheckContainerd(dir string) error {
	c, err := readContainerd(filepath.Join(dir, "config.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no config.toml, and whether it does by default depends on its version", ErrDoubtful)
	}
	if err != nil {
		return fmt.Errorf("reading containerd's configuration: %w", err)
	}
	paths := c.configPath()
	complete := true
	for _, pattern := range c.Imports {
		more, whole := readImports(dir, pattern)
		complete = complete && whole
		for _, m := range more {
			if p := m.configPath(); p != "" {
				paths = p
			}
		}
	}
	return checkPaths(paths, c.Version, complete)
}

func checkPaths(paths string, version int, complete bool) error {
	list := strings.Split(paths, ":")
	switch {
	case paths == "" && (version >= 3 || !complete):
		return fmt.Errorf("%w: its configuration sets no config_path", ErrDoubtful)
	case paths == "":
		return fmt.Errorf("%w: config.toml sets no config_path", ErrNotRead)
	case !slices.ContainsFunc(list, func(p string) bool { return filepath.Clean(p) == mirror.ContainerdDir }):
		return fmt.Errorf("%w: its config_path is %q", ErrNotRead, paths)
	case len(list) > 1:
		return fmt.Errorf("%w: some versions take a config_path of several directories, here %q, for one", ErrDoubtful, paths)
	}
	return nil
}

type containerdConfig struct {
	Version int                       `toml:"version"`
	Imports []string                  `toml:"imports"`
	Plugins map[string]map[string]any `toml:"plugins"`
}

func readContainerd(path string) (*containerdConfig, error) {
	data, err := atomicfile.ReadFile(path, maxFile)
	if errors.As(err, new(*atomicfile.TooLargeError)) {
		return nil, fmt.Errorf("%s has more than %d bytes", filepath.Base(path), maxFile)
	}
	if err != nil {
		return nil, err
	}
	var c containerdConfig
	if err := toml.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return &c, nil
}

func (c *containerdConfig) configPath() string {
	for _, name := range criPlugins {
		registry, _ := c.Plugins[name]["registry"].(map[string]any)
		if p, _ := registry["config_path"].(string); p != "" {
			return p
		}
	}
	return ""
}

// readImports reads the files that an import names. whole is false where some lie
// outside dir or cannot be read.
func readImports(dir, pattern string) (out []*containerdConfig, whole bool) {
	const there = "/etc/containerd"
	if filepath.IsAbs(pattern) {
		below, err := filepath.Rel(there, pattern)
		if err != nil || strings.HasPrefix(below, "..") {
			return nil, false
		}
		pattern = below
	}
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	whole = err == nil && len(names) <= 100
	for _, n := range names[:min(len(names), 100)] {
		c, err := readContainerd(n)
		if err != nil {
			whole = false
			continue
		}
		out = append(out, c)
	}
	return out, whole
}
