// Package mirror makes a node's container runtime find upstream images in a
// site's registry: it holds the files that say so, for containerd and for CRI-O,
// and the OpenShift objects of the same meaning.
//
// What they say is a pure function of Config. Package keeper puts them on a node.
package mirror

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
)

// Where the runtimes look on a node.
const (
	ContainerdDir = "/etc/containerd/certs.d"
	CRIODir       = "/etc/containers/registries.conf.d" // read when CRI-O starts or reloads
	CRIOCertsDir  = "/etc/containers/certs.d"           // read at each pull
)

// Names of files.
const (
	HostsFile = "hosts.toml"
	CAFile    = "caisson-ca.crt"
	CRIOName  = "50-caisson" // with -STACK.conf
)

// reserved ends the host names of what Caisson itself brings: nothing upstream.
const reserved = ".caisson.dev"

// Config says what nodes are to find where.
type Config struct {
	Stack     string   `json:"stack"`               // who writes
	Registry  string   `json:"registry"`            // HOST[:PORT][/PREFIX]
	PlainHTTP bool     `json:"plainHTTP,omitempty"` // the registry has no TLS
	CA        string   `json:"ca,omitempty"`        // PEM: the registry's authority
	Hosts     []string `json:"hosts"`               // upstream registries, sorted
	Login     bool     `json:"login,omitempty"`     // containerd gets the registry's login, which is not in here
}

// File is one file of a node.
type File struct {
	Path string // below the runtime's directory, slash-separated
	Data []byte

	Authority bool     // it is the registry's authority
	Yields    []string // directories: what an administrator has there goes before the file
	LogsInTo  string   // URL of the host that a login is added for; "" where none is
	Secret    bool     // a login is in it: for root's eyes only
	Makeshift bool     // its login is missing: one that has an older login is better
}

// Digest is the digest of the file's content.
func (f File) Digest() digest.Digest { return digest.FromBytes(f.Data) }

// Hosts lists the registries that image references name, sorted, each once, in
// the form runtimes look them up: docker.io for Docker Hub. What Caisson itself
// brings is left out.
func Hosts(refs []imageref.Ref) []string {
	var out []string
	for _, ref := range refs {
		if host := ref.Host(); !strings.HasSuffix(host, reserved) {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Target is where a host's repositories lie: HOST[:PORT]/[PREFIX/]UPSTREAM.
// imageref.SitePath gives what load and serve use.
func (c Config) Target(host, infix string) string {
	address, prefix, _ := strings.Cut(c.Registry, "/")
	parts := []string{address}
	for _, p := range []string{infix, strings.Trim(prefix, "/"), hostPath(host)} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// hostPath is how a host is spelled in the site's repositories.
func hostPath(host string) string {
	name, _, _ := strings.Cut(imageref.SitePath(host+"/x"), "/")
	return name
}

// hostDirectory is where containerd looks for a host first: a port is written
// HOST_PORT_.
func hostDirectory(host string) string {
	if name, port, ok := strings.Cut(host, ":"); ok {
		return name + "_" + port + "_"
	}
	return host
}

// Mark heads every file, so that it is known as ours.
const Mark = "# Written by caisson for stack "

func (c Config) fileHead() string {
	return Mark + c.Stack + ".\n# Changes are undone; uninstalling the stack removes it.\n"
}

// Containerd gives the files below ContainerdDir: per host a hosts.toml that
// leads to the site registry alone, so that no upstream name is ever looked up,
// and the registry's authority beside it. With an authority or a login there is one
// for the registry's own name as well, which yields to what a node has for it already.
// The login itself is added by File.WithLogin. See containerd's docs/hosts.md.
func (c Config) Containerd() []File {
	var out []File
	for _, host := range c.Hosts {
		dir := hostDirectory(host)
		if c.CA != "" {
			out = append(out, c.authorityFile(dir))
		}
		out = append(out, c.hostsFile(dir, c.scheme()+c.Target(host, "v2"), "override_path = true\n"))
	}
	own := c.RegistryHost()
	if c.CA == "" && !c.Login || slices.Contains(c.Hosts, own) {
		return out
	}
	dir := hostDirectory(own)
	yields := []string{dir, own, "_default"}
	if c.CA != "" {
		ca := c.authorityFile(dir)
		ca.Yields = yields
		out = append(out, ca)
	}
	hosts := c.hostsFile(dir, c.scheme()+own, "")
	hosts.Yields = yields
	return append(out, hosts)
}

// RegistryHost is the site registry's HOST[:PORT].
func (c Config) RegistryHost() string {
	host, _, _ := strings.Cut(c.Registry, "/")
	return host
}

func (c Config) authorityFile(dir string) File {
	return File{Path: dir + "/" + CAFile, Data: []byte(c.fileHead() + strings.TrimSpace(c.CA) + "\n"), Authority: true}
}

func (c Config) scheme() string {
	if c.PlainHTTP {
		return "http://"
	}
	return "https://"
}

// hostsFile is the hosts.toml that leads to one address. containerd asks the host
// first, and what is said of the server holds for the second try.
func (c Config) hostsFile(dir, address, path string) File {
	rules := "capabilities = [\"pull\", \"resolve\"]\n" + path
	if c.CA != "" {
		rules += fmt.Sprintf("ca = %q\n", CAFile)
	}
	text := fmt.Sprintf("%s\nserver = %q\n%s\n[host.%q]\n%s", c.fileHead(), address, rules, address, rules)
	f := File{Path: dir + "/" + HostsFile, Data: []byte(text)}
	if c.Login {
		f.LogsInTo = address
	}
	return f
}

// CRIO gives the file below CRIODir, of a name of the stack's own, as stacks
// have different hosts. The upstream name is the prefix and the site registry the
// location: no upstream is asked when the registry lacks an image. See
// containers-registries.conf(5).
func (c Config) CRIO() []File {
	var b strings.Builder
	b.WriteString(c.fileHead())
	for _, host := range c.Hosts {
		fmt.Fprintf(&b, "\n[[registry]]\nprefix = %q\nlocation = %q\ninsecure = %t\n", host, c.Target(host, ""), c.PlainHTTP)
	}
	return []File{{Path: CRIOName + "-" + c.Stack + ".conf", Data: []byte(b.String())}}
}

// CRIOCerts gives the file below CRIOCertsDir: the registry's authority, if there
// is one. See containers-certs.d(5).
func (c Config) CRIOCerts() []File {
	if c.CA == "" {
		return nil
	}
	return []File{c.authorityFile(c.RegistryHost())}
}

// Check refuses what could not be a file's name. The configuration is the one
// that the agent on a node reads.
func (c Config) Check() error {
	if c.Stack == "" || c.Registry == "" {
		return errors.New("reading the agent's configuration: it names no stack or no registry")
	}
	if filepath.Base(c.Stack) != c.Stack || strings.ContainsAny(c.Stack, ", \n") {
		return fmt.Errorf("reading the agent's configuration: %q is not a stack's name", c.Stack)
	}
	for _, h := range append([]string{c.RegistryHost()}, c.Hosts...) {
		if !filepath.IsLocal(h) || filepath.Base(h) != h || h[0] == '.' || h[0] == '_' {
			return fmt.Errorf("reading the agent's configuration: %q is not a registry's name", h)
		}
	}
	return nil
}
