package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// netrc maps a host name to its login. The file's "default" entry is ignored:
// it would send one host's password to every host.
type netrc map[string]login

type login struct{ user, password string }

const maxNetrc = 1 << 20

func readNetrc() (netrc, error) {
	path := os.Getenv("NETRC")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, nil
		}
		path = filepath.Join(home, ".netrc")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading .netrc: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNetrc))
	if err != nil {
		return nil, fmt.Errorf("reading .netrc: %w", err)
	}
	return parseNetrc(string(text)), nil
}

// parseNetrc reads the words that curl and git read: machine, default, login,
// password, account; macdef runs to the next empty line.
func parseNetrc(text string) netrc {
	logins := netrc{}
	words := netrcWords(text)
	host := ""
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "default":
			host = ""
		case "machine", "login", "password", "account":
			if i+1 == len(words) {
				return logins
			}
			i++
			host = logins.set(host, words[i-1], words[i])
		}
	}
	return logins
}

// set notes one pair of words and returns the host that the next ones are for.
func (n netrc) set(host, key, value string) string {
	if key == "machine" {
		return value
	}
	if host == "" {
		return host
	}
	entry := n[host]
	switch key {
	case "login":
		entry.user = value
	case "password":
		entry.password = value
	}
	n[host] = entry
	return host
}

func netrcWords(text string) []string {
	var words []string
	macro := false
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if macro = macro && len(fields) > 0; macro {
			continue
		}
		for _, f := range fields {
			if strings.HasPrefix(f, "#") {
				break
			}
			if macro = f == "macdef"; macro {
				break
			}
			words = append(words, f)
		}
	}
	return words
}

// authorize adds the host's login, over TLS or to this machine alone.
func (n netrc) authorize(req *http.Request) {
	host := req.URL.Hostname()
	entry, ok := n[host]
	if !ok || req.URL.Scheme != "https" && !loopback(host) {
		return
	}
	req.SetBasicAuth(entry.user, entry.password)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
