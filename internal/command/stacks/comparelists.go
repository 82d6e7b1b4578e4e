package stacks

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/api/yamlfile"
)

// compareLists tells what comes to a list and what goes.
func compareLists(what string, before, now []string) []string {
	var out []string
	for _, entry := range now {
		if !slices.Contains(before, entry) {
			out = append(out, fmt.Sprintf("%s %s: new", what, entry))
		}
	}
	for _, entry := range before {
		if !slices.Contains(now, entry) {
			out = append(out, fmt.Sprintf("%s %s: no more", what, entry))
		}
	}
	return out
}

// conditions say in words what must hold before a component is ready.
func conditions[C lock.Condition | stack.Condition](list []C) []string {
	var out []string
	for _, one := range list {
		c := lock.Condition(one)
		text := strings.TrimSpace(strings.TrimSuffix(c.APIVersion, "/")+" "+c.Kind) + " " + c.Name
		if c.Namespace != "" {
			text += " in " + c.Namespace
		}
		if c.Condition == "" {
			c.Condition = "there and done"
		}
		out = append(out, text+" is "+c.Condition)
	}
	return out
}

// allowances say in words what is accepted.
func allowances[A lock.Allow | stack.Allow](list []A) []string {
	var out []string
	for _, one := range list {
		a := lock.Allow(one)
		out = append(out, fmt.Sprintf("%s of %s (%s)", a.Code, a.Match, a.Reason))
	}
	return out
}

// compareModel compares what is said of a model of the same repository.
func compareModel(m *stack.Model, former *lock.HubModel) []string {
	var out []string
	if m.Serve != former.Serve {
		out = append(out, fmt.Sprintf("model %s: serve %s > %s", m.Name, orNone(former.Serve), orNone(m.Serve)))
	}
	if former.Name != "" && former.Name != m.Name {
		out = append(out, fmt.Sprintf("model %s: was called %s", m.Name, former.Name))
	}
	var before, now []string
	for _, e := range former.Extras {
		before = append(before, "hf://"+strings.ToLower(e.Repository)+" in "+e.Path)
	}
	for _, f := range former.Files {
		if _, ofExtra := former.ExtraOf(f); f.URL != "" && !ofExtra {
			before = append(before, f.URL+" as "+f.Path)
		}
	}
	for _, e := range m.Extras {
		if e.Source != "" {
			now = append(now, strings.ToLower(e.Source)+" in "+e.Path)
		} else {
			now = append(now, e.URL+" as "+e.Path)
		}
	}
	return append(out, compareLists("model "+m.Name+" with", before, now)...)
}

// compareLocal compares the manifests that lie beside the stack.
func (k *comparison) compareLocal(i int, former *lock.Component) ([]string, error) {
	before := map[string][]digest.Digest{} // by the file's own name
	for j := range k.lock.Items {
		f, ok := lock.As[*lock.RawFile](&k.lock.Items[j])
		if ok && slices.Contains(former.Manifests, k.lock.Items[j].Ref) && f.URL == "" && f.Build == nil {
			before[f.Name] = append(before[f.Name], f.Digest)
		}
	}
	var out []string
	for j, name := range k.stack.Components[i].Manifests {
		data, err := k.stack.Origin(fmt.Sprintf("components[%d].manifests[%d]", i, j)).File.Read(name, yamlfile.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("reading manifest %s: %w", name, err)
		}
		base := filepath.Base(name)
		same := slices.Index(before[base], digest.FromBytes(data))
		switch {
		case same >= 0:
			before[base] = slices.Delete(before[base], same, same+1)
		case len(before[base]) > 0:
			out, before[base] = append(out, "manifest "+name+" has other content"), before[base][1:]
		default:
			out = append(out, "manifest "+name+" is new")
		}
	}
	for name, left := range before {
		if len(left) > 0 {
			out = append(out, "manifest "+name+" is gone")
		}
	}
	slices.Sort(out)
	return out, nil
}
