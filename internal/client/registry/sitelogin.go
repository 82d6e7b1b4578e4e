package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// Secrets reads the login for a registry out of a pull secret; one that has none is a
// plan.ErrNoLogin.
type Secrets interface {
	PullLogin(ctx context.Context, namespace, name, host string) (user, password string, err error)
}

// loginQuestions bounds the repositories that are asked for, each of another project of
// the registry.
const loginQuestions = 8

// CheckLogins finds what keeps the nodes of a site from its registry: that it demands a
// login and none is named, or that a pull secret is not there, is for another registry,
// or is refused. held are manifests that the registry has; namespaces are where pods
// pull. The error is that of a registry that does not answer.
func CheckLogins(ctx context.Context, reg site.Registry, held []plan.Check, namespaces []string, s Secrets) ([]plan.LoginTrouble, error) {
	if reg.NodesLogIn {
		return nil, nil
	}
	held = oneOfEachProject(reg, held)
	demanded, err := refusalOf(ctx, reg, authn.Anonymous, held)
	if err != nil {
		return nil, err
	}
	ref := reg.PullSecretRef
	switch {
	case ref == nil && demanded == "":
		return nil, nil
	case ref == nil:
		return []plan.LoginTrouble{{Why: demanded}}, nil
	case ref.Namespace != "":
		namespaces = []string{ref.Namespace}
	}
	var out []plan.LoginTrouble
	for _, namespace := range namespaces {
		t, err := checkSecret(ctx, reg, held, namespace, s)
		if err != nil {
			return nil, err
		}
		if t != nil {
			t.Spare = t.Spare && demanded == ""
			out = addTrouble(out, *t)
		}
	}
	return out, nil
}

// addTrouble adds a trouble; like ones become one.
func addTrouble(list []plan.LoginTrouble, t plan.LoginTrouble) []plan.LoginTrouble {
	for i := range list {
		if list[i].Why == t.Why && list[i].Spare == t.Spare {
			list[i].Namespaces = append(list[i].Namespaces, t.Namespaces...)
			return list
		}
	}
	return append(list, t)
}

// checkSecret is why a pull secret in one namespace cannot be used, or nil.
func checkSecret(ctx context.Context, reg site.Registry, held []plan.Check, namespace string, s Secrets) (*plan.LoginTrouble, error) {
	t := &plan.LoginTrouble{Secret: reg.PullSecretRef.Name, Namespaces: []string{namespace}}
	user, password, err := s.PullLogin(ctx, namespace, reg.PullSecretRef.Name, reg.Address)
	if err != nil {
		t.Why, t.Spare = err.Error(), errors.Is(err, plan.ErrNoLogin)
		return t, ctx.Err()
	}
	login := authn.FromConfig(authn.AuthConfig{Username: user, Password: password})
	if t.Why, err = refusalOf(ctx, reg, login, held); err != nil || t.Why == "" {
		return nil, err
	}
	t.Why = "its login is refused: " + t.Why
	return t, nil
}

// TakesPasswords says whether the registry takes a login with the request for a manifest
// itself, which is what a header in containerd's hosts.toml is. Else it gives out tokens for
// it. Where there is no manifest or no login to ask with, it is true.
func TakesPasswords(ctx context.Context, reg site.Registry, held []plan.Check, namespace string, s Secrets) (bool, error) {
	if len(held) == 0 || reg.PullSecretRef == nil {
		return true, nil
	}
	user, password, err := s.PullLogin(ctx, namespace, reg.PullSecretRef.Name, reg.Address)
	if err != nil {
		return true, ctx.Err() // CheckLogins tells of it
	}
	p, err := dialAs(reg, authn.Anonymous)
	if err != nil {
		return true, err
	}
	header := acceptManifests.Clone()
	header.Set("Authorization", mirror.NewLogin(user, password).Authorization())
	resp, err := p.doRequest(ctx, "logging in to registry "+p.host, call{
		method: http.MethodHead, url: p.url(held[0].Repository, "manifests", held[0].Digest.String()), header: header,
		want: []int{http.StatusOK, http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden},
	})
	if err != nil {
		return true, err
	}
	tokens := resp.StatusCode == http.StatusUnauthorized && slices.ContainsFunc(resp.Header.Values("WWW-Authenticate"), isBearer)
	return !tokens, resp.Body.Close()
}

// isBearer says whether a challenge (RFC 9110, section 11.6.1) asks for a token.
func isBearer(challenge string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " ")
	return strings.EqualFold(scheme, "bearer")
}

// oneOfEachProject picks manifests so that each project of the registry is asked once:
// rights are given by project.
func oneOfEachProject(reg site.Registry, held []plan.Check) (out []plan.Check) {
	seen := map[string]bool{}
	for _, c := range held {
		parts := strings.SplitN(strings.TrimPrefix(reg.Prefix+"/"+c.Repository, "/"), "/", 3)
		project := strings.Join(parts[:min(len(parts), 2)], "/")
		if !seen[project] && len(out) < loginQuestions {
			seen[project] = true
			out = append(out, c)
		}
	}
	return out
}

// refusalOf is why a registry does not give manifests to a login; "" where it does.
func refusalOf(ctx context.Context, reg site.Registry, login authn.Authenticator, held []plan.Check) (string, error) {
	p, err := dialAs(reg, login)
	if err != nil {
		return "", err
	}
	for _, c := range held {
		err := p.askToPull(ctx, c)
		if why := refusedLogin(err); why != "" {
			return why, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// oneLogin is the same login for every registry.
type oneLogin struct{ authn.Authenticator }

func (l oneLogin) Resolve(authn.Resource) (authn.Authenticator, error) { return l.Authenticator, nil }

func dialAs(reg site.Registry, login authn.Authenticator) (*Pusher, error) {
	opt, err := siteOptions(reg)
	if err != nil {
		return nil, err
	}
	opt.Keychain = oneLogin{login}
	return NewPusher(reg.Base(), opt)
}

// askToPull asks for a manifest as a node does that pulls it.
func (p *Pusher) askToPull(ctx context.Context, c plan.Check) error {
	ctx = p.withScope(ctx, c.Repository, auth.ActionPull)
	resp, err := p.doRequest(ctx, "looking for manifest "+p.Address(c.Repository)+"@"+c.Digest.String(), call{
		method: http.MethodHead, url: p.url(c.Repository, "manifests", c.Digest.String()), header: acceptManifests,
		want: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// refusedLogin is how a registry, or its token server, said that a login does not
// suffice; "" where it said something else.
func refusedLogin(err error) string {
	var token *errcode.ErrorResponse
	var refused *RefusedError
	status, said := 0, ""
	switch {
	case errors.As(err, &token):
		status, said = token.StatusCode, makePrintable(token.Errors.Error())
	case errors.As(err, &refused):
		status, said = refused.Status, refused.Message
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		status = http.StatusUnauthorized
	}
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return ""
	}
	return strings.TrimSuffix(fmt.Sprintf("it answers %d %s: %s", status, http.StatusText(status), said), ": ")
}
