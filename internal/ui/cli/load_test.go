package cli

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/bundletest"
	"github.com/caisson/caisson/internal/ui/explain"
)

// TestLoadTrustsTheRegistrysAuthority: a registry whose certificate the system does
// not know is loaded when --ca-file names its authority, and not without.
func TestLoadTrustsTheRegistrysAuthority(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	b := bundletest.Make(t, bundletest.Options{})
	plain := &url.URL{Scheme: "http", Host: bundletest.NewRegistry(t, true).Host}
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(plain)
		r.SetXForwarded()
	}})
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	ca, other := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "other.pem")
	for file, text := range map[string][]byte{
		ca:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}),
		other: []byte("no certificate"),
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := []string{"load", b.Dir, "--key", b.KeyFile, "--registry", strings.TrimPrefix(front.URL, "https://")}
	for _, c := range []struct {
		more []string
		code int
		says string
	}{
		{nil, explain.Failed, "400 Bad Request"},
		{[]string{"--ca-file", other}, explain.Failed, "holds none"},
		{[]string{"--ca-file", ca}, explain.Done, "has all"},
	} {
		if s := say(t.Context(), append(load, c.more...)...); s.code != c.code || !strings.Contains(s.out+s.err, c.says) {
			t.Errorf("load %v: exit code %d\n%s%s", c.more, s.code, s.out, s.err)
		}
	}
}
