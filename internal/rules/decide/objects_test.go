package decide

import "testing"

func TestFieldChange(t *testing.T) {
	for _, c := range []struct{ path, before, after, want string }{
		{"spec.replicas", "2", "3", "spec.replicas: 2 > 3"},
		{"spec.paused", "", "true", "spec.paused: (not set) > true"},
		{"spec.paused", "true", "", "spec.paused: true > (not set)"},
		{"data.a", "", "", "data.a: (not shown)"},
		{"spec.adminPassword", `"a"`, `"b"`, "spec.adminPassword: (not shown) > (not shown)"},
		{"spec.config", `"x"`, `{"token":"abc"}`, `spec.config: "x" > (not shown)`},
		{"spec.text", `"x"`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`, `spec.text: "x" > "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...`},
	} {
		if got := FieldChange(c.path, c.before, c.after); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
