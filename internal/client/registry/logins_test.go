package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/client/fetch"
)

// A login that is refused is the upstream's answer, and is not tried again.
func TestRefusedLogin(t *testing.T) {
	for name, challenge := range map[string]string{"token": `Bearer realm="http://HOST/token",service="s"`, "basic": `Basic realm="x"`} {
		t.Run(name, func(t *testing.T) {
			f, host := start(t, nil)
			f.answers = map[string]http.HandlerFunc{
				"/v2/": func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("WWW-Authenticate", strings.Replace(challenge, "HOST", host, 1))
					w.WriteHeader(http.StatusUnauthorized)
				},
				"/token": func(w http.ResponseWriter, r *http.Request) {
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`))
				},
			}
			p := newPuller(t, nil)
			_, err := p.Resolve(t.Context(), imageref.Ref(host+"/acme/web:1"))
			refusal := new(fetch.StatusError)
			if !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized || strings.Contains(err.Error(), "service=") {
				t.Errorf("error %v", err)
			}
			if n := len(f.sent("/token")); n > 1 {
				t.Errorf("%d requests for a token", n)
			}
		})
	}
}

// Where a registry offers several ways to log in, its tokens are asked for.
func TestTokensArePreferred(t *testing.T) {
	f, host := start(t, nil)
	f.answers = map[string]http.HandlerFunc{
		"/v2/": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("WWW-Authenticate", `Basic realm="x"`)
			w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token"`, host))
			w.WriteHeader(http.StatusUnauthorized)
		},
		"/v2/acme/web/manifests/1": tokens("http://"+host+"/token", "good", answer(ocispec.MediaTypeImageManifest, manifestText)),
		"/token":                   answer("application/json", `{"token":"good"}`),
	}
	if _, err := newPuller(t, nil).Resolve(t.Context(), imageref.Ref(host+"/acme/web:1")); err != nil {
		t.Error(err)
	}
}

// A token that the registry no longer takes is replaced.
func TestTokenExpires(t *testing.T) {
	f, host := start(t, nil)
	token := "first"
	f.answers = map[string]http.HandlerFunc{
		"/v2/": tokens("http://"+host+"/token", "", nil),
		"/v2/acme/web/manifests/1": func(w http.ResponseWriter, r *http.Request) {
			tokens("http://"+host+"/token", token, answer(ocispec.MediaTypeImageManifest, manifestText))(w, r)
		},
		"/token": func(w http.ResponseWriter, r *http.Request) {
			answer("application/json", fmt.Sprintf(`{"token":%q}`, token))(w, r)
		},
	}
	p := newPuller(t, nil)
	for _, token = range []string{"first", "second"} {
		if _, err := p.Resolve(t.Context(), imageref.Ref(host+"/acme/web:1")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.sent("/token")); n != 2 {
		t.Errorf("%d requests for a token", n)
	}
}

// A registry cannot name another token server once it is trusted with the first.
func TestRealmOfALaterAnswer(t *testing.T) {
	thief, thiefHost := start(t, map[string]http.HandlerFunc{"/token": answer("application/json", `{"token":"bad"}`)})
	f, host := start(t, nil)
	f.answers = map[string]http.HandlerFunc{
		"/v2/":                     tokens("http://"+host+"/token", "", nil),
		"/v2/acme/web/manifests/1": tokens("http://"+thiefHost+"/token", "", nil),
		"/token":                   answer("application/json", `{"token":"good"}`),
	}
	if _, err := newPuller(t, map[string]string{host: "u:p"}).Resolve(t.Context(), imageref.Ref(host+"/acme/web:1")); !errors.Is(err, errRedirected) {
		t.Errorf("error %v", err)
	}
	if n := len(thief.requests); n != 0 {
		t.Errorf("%d requests to the other token server", n)
	}
}
