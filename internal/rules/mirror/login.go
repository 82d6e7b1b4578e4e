package mirror

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/plan"
)

// LoginFile is the key of a pull secret that holds its logins, a Docker configuration.
const LoginFile = ".dockerconfigjson"

// Login is a name and a password for a registry. It must not get into anything that
// people read.
type Login struct{ user, password string }

// NewLogin makes a login of a name and a password.
func NewLogin(user, password string) Login { return Login{user, password} }

// Name and Password give the two parts.
func (l Login) Name() string { return l.user }

// Password gives the password.
func (l Login) Password() string { return l.password }

// String keeps the login out of text.
func (l Login) String() string { return "a login" }

// GoString keeps the login out of text.
func (l Login) GoString() string { return l.String() }

// Authorization is the value of the HTTP header that logs in (RFC 7617).
func (l Login) Authorization() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password))
}

// WithLogin is the file with a login for its host, as headers that containerd sends to
// that host and, from version 2.1 on, to where the host gives out tokens. Their lines come
// last. A file for no host stays as it is.
func (f File) WithLogin(l Login) File {
	if f.LogsInTo == "" {
		return f
	}
	header := fmt.Sprintf("Authorization = [%q]\n", l.Authorization())
	text := fmt.Sprintf("%s\n[host.%q.header]\n%s\n[header]\n%s", f.Data, f.LogsInTo, header, header)
	f.Data, f.Secret = []byte(text), true
	return f
}

// errNotJSON: the reader's own error could quote a password.
var errNotJSON = errors.New(LoginFile + " in it is no JSON")

// ParseLogin finds the login for a registry, HOST[:PORT], in a Docker configuration.
// Where several entries are for it, the last by name counts, which is the kubelet's first
// choice. Errors wrap plan.ErrNoLogin where there is none, and never quote the
// configuration.
func ParseLogin(config []byte, host string) (Login, error) {
	var c struct {
		Auths map[string]dockerLogin `json:"auths"`
	}
	if json.Unmarshal(config, &c) != nil {
		return Login{}, errNotJSON
	}
	for _, entry := range slices.Backward(slices.Sorted(maps.Keys(c.Auths))) {
		if l := c.Auths[entry].login(); l.user != "" && loginIsFor(entry, host) {
			return l, nil
		}
	}
	return Login{}, fmt.Errorf("%w: %s", plan.ErrNoLogin, host)
}

// dockerLogin is one entry of a Docker configuration.
type dockerLogin struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"` // base64 of USER:PASSWORD
}

func (d dockerLogin) login() Login {
	if d.Username != "" {
		return Login{d.Username, d.Password}
	}
	both, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(d.Auth), "="))
	if err != nil {
		return Login{}
	}
	user, password, _ := strings.Cut(string(both), ":")
	return Login{user, strings.Trim(password, "\x00")}
}

// loginIsFor says whether an entry, [SCHEME://]HOST[:PORT][/PATH] with patterns in its
// host, is for a registry.
func loginIsFor(entry, host string) bool {
	if _, rest, ok := strings.Cut(entry, "://"); ok {
		entry = rest
	}
	entry, _, _ = strings.Cut(entry, "/")
	if strings.Count(entry, ".") != strings.Count(host, ".") {
		return false
	}
	matched, err := path.Match(entry, host)
	return err == nil && matched
}
