package rendering

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func configMap(name string, data map[string]any) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "data": data}
}

type list = []map[string]any

func TestChanceIsWhatTwoRenderingsDifferIn(t *testing.T) {
	first := list{configMap("a", map[string]any{"same": "x", "a/b~c": "1", "list": []any{"p", "1"}, "grown": []any{"1"}, "kind": "1"})}
	second := list{configMap("a", map[string]any{"same": "x", "a/b~c": "2", "list": []any{"p", "2"}, "grown": []any{"1", "2"}, "kind": map[string]any{}})}
	described, unsteady, err := Describe(first, second)
	if err != nil || len(unsteady) != 0 || len(described) != 1 {
		t.Fatalf("%+v, %q, %v", described, unsteady, err)
	}
	want := []string{"/data/a~1b~0c", "/data/grown", "/data/kind", "/data/list/1"}
	if !slices.Equal(described[0].Chance, want) {
		t.Errorf("chance is %q", described[0].Chance)
	}
	for name, test := range map[string]struct {
		data map[string]any
		want string
	}{
		"chance alone":     {map[string]any{"same": "x", "a/b~c": "3", "list": []any{"p", "3"}, "kind": "2"}, ""},
		"another field":    {map[string]any{"same": "y", "a/b~c": "3", "list": []any{"p", "3"}}, "ConfigMap a: data.same is not as planned"},
		"a field more":     {map[string]any{"same": "x", "list": []any{"p", "3"}, "new": "n"}, "ConfigMap a: data.new is not as planned"},
		"beside chance":    {map[string]any{"same": "x", "list": []any{"q", "3"}}, "ConfigMap a: data.list is not as planned"},
		"a list's element": {map[string]any{"same": "x", "list": []any{"p", "3", "4"}}, "ConfigMap a: data.list is not as planned"},
	} {
		found, err := Compare(described, list{configMap("a", test.data)})
		var got []string
		for _, d := range found {
			got = append(got, d.What)
		}
		if err != nil || strings.Join(got, "; ") != test.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}

// TestAPlanWithoutPartsIsCompared: a plan file may leave out what only serves to say
// which field is another.
func TestAPlanWithoutPartsIsCompared(t *testing.T) {
	described, _, err := Describe(list{configMap("a", nil)}, list{configMap("a", nil)})
	if err != nil {
		t.Fatal(err)
	}
	described[0].Parts = nil
	found, err := Compare(described, list{configMap("a", map[string]any{"k": "v"})})
	const want = "ConfigMap a: apiVersion, data.k, kind, 1 more is not as planned"
	if err != nil || len(found) != 1 || found[0].What != want {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestObjectsAreTheSameByName(t *testing.T) {
	other := configMap("a", nil)
	other["kind"] = "Secret"
	planned, _, err := Describe(list{configMap("a", nil), configMap("b", nil)}, list{configMap("a", nil), configMap("b", nil)})
	if err != nil {
		t.Fatal(err)
	}
	found, err := Compare(planned, list{configMap("a", nil), other, configMap("a", nil)})
	var got []string
	for _, d := range found {
		got = append(got, d.What)
	}
	want := []string{"ConfigMap a is not in the plan", "ConfigMap b is in the plan and is not rendered any more", "Secret a is not in the plan"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	one, two := list{configMap("a", map[string]any{"k1": "x"})}, list{configMap("a", map[string]any{"k2": "x"})}
	if _, err := Plan(one, two); !errors.Is(err, ErrUnsteady) || !strings.HasSuffix(err.Error(), ": /data/k1 of ConfigMap a, /data/k2 of ConfigMap a") {
		t.Errorf("keys by chance: %v", err)
	}
	_, unsteady, err := Describe(list{configMap("job-1", nil)}, list{configMap("job-2", nil)})
	if err != nil || !slices.Equal(unsteady, []string{"ConfigMap job-1", "ConfigMap job-2"}) {
		t.Errorf("names by chance: %q, %v", unsteady, err)
	}
}

// TestNoSecretIsTold: of a Secret no field has a digest of its own.
func TestNoSecretIsTold(t *testing.T) {
	secret := configMap("s", map[string]any{"password": "hunter2"})
	secret["kind"] = "Secret"
	described, _, err := Describe(list{secret}, list{secret})
	if err != nil || described[0].Parts["data.password"] != "" || described[0].Parts["data"] == "" {
		t.Errorf("%+v, %v", described, err)
	}
}

// TestFieldsArePlannedInLittleRoom: a pointer repeats a long key for each value
// below it, and there may be many; the field above then stands for all of them.
func TestFieldsArePlannedInLittleRoom(t *testing.T) {
	long := strings.Repeat("y", 64<<10)
	below := func(value string, keys int) map[string]any {
		out := map[string]any{}
		for n := range keys {
			out[strconv.Itoa(n)] = value
		}
		return out
	}
	nest := func(value string) any {
		var v any = value
		for range 100 {
			v = map[string]any{strings.Repeat("y", 200): v}
		}
		return v
	}
	for name, test := range map[string]struct {
		data func(value string) map[string]any
		want []string
	}{
		"a long key":     {func(v string) map[string]any { return map[string]any{"x": map[string]any{long: below(v, 2000)}} }, []string{"/data/x"}},
		"many fields":    {func(v string) map[string]any { return map[string]any{"x": below(v, 2000)} }, []string{"/data/x"}},
		"deep":           {func(v string) map[string]any { return map[string]any{"x": nest(v)} }, []string{"/data/x" + strings.Repeat("/"+strings.Repeat("y", 200), 4)}},
		"few fields":     {func(v string) map[string]any { return map[string]any{"x": below(v, 2), "same": "s"} }, []string{"/data/x/0", "/data/x/1"}},
		"long and equal": {func(v string) map[string]any { return map[string]any{long: below("s", 2000), "x": v} }, []string{"/data/x"}},
	} {
		first, second := list{configMap("a", test.data("1"))}, list{configMap("a", test.data("2"))}
		described, _, err := Describe(first, second)
		if err != nil || !slices.Equal(described[0].Chance, test.want) {
			t.Errorf("%s: %.300q, %v", name, described[0].Chance, err)
		}
		room := 0
		for part := range described[0].Parts {
			room += len(part)
		}
		if room > 1<<20 {
			t.Errorf("%s: parts of %d bytes", name, room)
		}
		third := configMap("a", test.data("3"))
		if found, err := Compare(described, list{third}); err != nil || len(found) != 0 {
			t.Errorf("%s: %v, %v", name, found, err)
		}
		third["immutable"] = true
		if found, err := Compare(described, list{third}); err != nil || len(found) != 1 {
			t.Errorf("%s and a field more: %v, %v", name, found, err)
		}
	}
}
