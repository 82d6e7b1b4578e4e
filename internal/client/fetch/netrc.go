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
	"unicode"
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
			host = logins.setEntry(host, words[i-1], words[i])
		}
	}
	return logins
}

// setEntry notes one pair of words and returns the host that the next ones are for.
func (n netrc) setEntry(host, key, value string) string {
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

// netrcWords splits the file as curl does: words stand between spaces, a word in
// double quotes may hold spaces, and a # before a word makes the rest of the line
// a comment.
func netrcWords(text string) []string {
	var words []string
	macro := false
	for line := range strings.SplitSeq(text, "\n") {
		if macro = macro && strings.TrimSpace(line) != ""; macro {
			continue
		}
		word, rest, ok := nextWord(line)
		for ; ok; word, rest, ok = nextWord(rest) {
			if macro = word == "macdef"; macro {
				break
			}
			words = append(words, word)
		}
	}
	return words
}

// nextWord takes the first word off a line, if there is one. A quote that nothing
// closes is a character like any other.
func nextWord(line string) (word, rest string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return "", "", false
	}
	if word, rest, ok := quotedWord(line); ok {
		return word, rest, true
	}
	if end := strings.IndexFunc(line, unicode.IsSpace); end >= 0 {
		return line[:end], line[end:], true
	}
	return line, "", true
}

// quotedWord reads "a word" with curl's escapes: \n, \r and \t are control
// characters, and any other character after a backslash stands for itself.
func quotedWord(line string) (word, rest string, ok bool) {
	if !strings.HasPrefix(line, `"`) {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			return b.String(), line[i+1:], true
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(unescape(line[i]))
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// addLogin adds the host's login, over TLS or to this machine alone.
func (n netrc) addLogin(req *http.Request) {
	host := req.URL.Hostname()
	entry, ok := n[host]
	if !ok || req.URL.Scheme != "https" && !isLoopback(host) {
		return
	}
	req.SetBasicAuth(entry.user, entry.password)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
