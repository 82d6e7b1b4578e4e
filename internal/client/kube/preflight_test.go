package kube

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestSkew(t *testing.T) {
	for name, tc := range map[string]struct{ ahead time.Duration }{"ahead": {time.Hour}, "behind": {-time.Hour}, "together": {0}} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(tc.ahead).UTC().Format(http.TimeFormat))
			}))
			defer s.Close()
			c := &Client{config: &rest.Config{Host: s.URL}}
			got, err := c.Skew(t.Context())
			if err != nil || (got-tc.ahead).Abs() > 2*time.Second {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestKeeper(t *testing.T) {
	for want, marks := range map[string][2]map[string]string{
		"":                       {},
		"caisson's demo/web":     {nil, {AnnotationOwner: "demo/web"}},
		"Helm release front/web": {{labelManagedBy: "Helm"}, {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "front"}},
		"Argo CD":                {{"argocd.argoproj.io/instance": "x"}, nil},
		"Flux":                   {{"kustomize.toolkit.fluxcd.io/name": "x"}, nil},
		"ansible":                {{labelManagedBy: "ansible"}, nil},
	} {
		if got := Keeper(marks[0], marks[1]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
