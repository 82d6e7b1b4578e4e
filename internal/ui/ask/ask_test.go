package ask

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
)

// environment is a Lookup of given variables.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// every answers of every command.
func every() map[string]Answers {
	return map[string]Answers{
		"resolve": new(Resolve), "pack": new(Pack), "keys": new(Keys), "sign": new(Sign), "verify": new(Verify), "inspect": new(Inspect),
		"diff": new(Diff), "serve": new(Serve), "load": new(Load), "nodes": new(Nodes), "nodes export": new(NodesExport),
		"preflight": new(Preflight), "plan": new(Plan), "plan show": new(PlanShow), "install": new(Install), "status": new(Stack),
		"rollback": new(Rollback), "uninstall": new(Uninstall), "prune": new(Prune), "report": new(Report), "support": new(Support),
		"agent mirror": new(AgentMirror), "agent status": new(AgentStatus), "agent probe": new(AgentProbe),
	}
}

// said parses a command line into answers.
func said(t *testing.T, a Answers, line string) error {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	form := a.Form()
	Bind(flags, form)
	err := flags.Parse(strings.Fields(line))
	form.Arguments.Set(flags.Args())
	return err
}

// TestWhoAsksAClusterTakesItsFlags: a script can give the same to each command.
func TestWhoAsksAClusterTakesItsFlags(t *testing.T) {
	for _, name := range []string{"preflight", "plan", "install", "status", "rollback", "uninstall", "prune", "report", "support"} {
		if err := said(t, every()[name], "--kubeconfig k --context c --state-dir d"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFlagsAndAnswersGiveTheSameOptions: what a wizard fills in gives the Options
// that flags give.
func TestFlagsAndAnswersGiveTheSameOptions(t *testing.T) {
	program := Program{Version: "v1", Renderer: []string{"caisson", "render"}, Builder: []string{"caisson", "build"}, Lookup: environment(map[string]string{
		"SOURCE_DATE_EPOCH": "1767225600", "HF_TOKEN": "token",
	})}
	made := time.Unix(1767225600, 0).UTC()
	typed := Resolve{File: "s.yaml", Out: "l.yaml", Platform: []string{"linux/amd64", "linux/arm64"}, Nodes: "n.yaml", Workers: "3"}
	var flagged Resolve
	if err := said(t, &flagged, "-f s.yaml --out l.yaml --platform linux/amd64,linux/arm64 --nodes n.yaml --workers 3"); err != nil {
		t.Fatal(err)
	}
	want := resolve.Options{
		Stack: "s.yaml", Output: "l.yaml", Platforms: typed.Platform, Nodes: "n.yaml", Workers: 3,
		Renderer: program.Renderer, Builder: program.Builder, Now: made, HubToken: "token",
	}
	for who, a := range map[string]*Resolve{"flags": &flagged, "a wizard": &typed} {
		if got, err := a.Options(program); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", who, got, err)
		}
	}

	var packed Pack
	if err := said(t, &packed, "l.yaml -o out --signing-key k.key --volume-size 4GiB --sequence 7 --expires 90d --tool a --tool b"); err != nil {
		t.Fatal(err)
	}
	got, err := packed.Options(program)
	got.Password = nil
	if want := (pack.Options{
		Lock: "l.yaml", Output: "out", Key: "k.key", VolumeSize: 4 << 30, Sequence: 7, Expires: 90 * 24 * time.Hour,
		Tool: []string{"a", "b"}, Builder: program.Builder, Now: made, HubToken: "token",
	}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("pack: %+v, %v", got, err)
	}
}

// TestEveryMistakeIsNamed: all that is wrong is said at once, each with its field.
func TestEveryMistakeIsNamed(t *testing.T) {
	_, err := (&Pack{SigningKey: "k", VolumeSize: "much", Workers: "some", Expires: "soon"}).Options(Program{})
	var wrong *Error
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	var fields []string
	for _, m := range wrong.Mistakes {
		fields = append(fields, m.Field)
	}
	if got := strings.Join(fields, ","); got != ",out,volume-size,workers,expires" {
		t.Errorf("mistakes in %s", got)
	}
	if !strings.HasPrefix(err.Error(), "needs one LOCK.yaml and -o DIR\n--volume-size: \"much\" is not a size like 4000MiB\n--workers: ") {
		t.Errorf("it reads\n%v", err)
	}
}

func TestMistakesAcrossFields(t *testing.T) {
	full := Load{Paths: []string{"usb"}, Key: []string{"k.pub"}, Registry: "r", CAFile: "ca.pem", Workers: "2"}
	if got, err := full.Options(); err != nil || !reflect.DeepEqual(got, load.Options{
		Paths: full.Paths, Keys: full.Key, Registry: "r", CAFile: "ca.pem", Workers: 2,
	}) {
		t.Errorf("%+v, %v", got, err)
	}
	full.PlainHTTP = true
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a CA without TLS": {second(full.Options()), "--ca-file has no use for a registry without TLS"},
		"a format":         {second((&Nodes{Format: "yml"}).Options(time.Time{})), `did you mean "yaml"`},
		"a probe alone":    {second((&Nodes{nodeSource: nodeSource{Probe: true, Local: true}}).Options(time.Time{})), "--probe needs --site"},
		"an image": {
			second((&Nodes{nodeSource: nodeSource{Probe: true, Site: "s", Image: "GHCR.io/acme/Probe"}}).Options(time.Time{})),
			"--image: reading image reference",
		},
		"the same": {second((&Nodes{nodeSource: nodeSource{Probe: true, Local: true}}).Options(time.Time{})), "--probe is for a cluster"},
		"two ways": {second((&NodesExport{nodeSource: nodeSource{Local: true, Context: "c"}, Out: "o"}).Options(time.Time{})), "only one can be given"},
		"one path": {second((&Diff{Paths: []string{"a"}}).Options()), "needs PATH_A and PATH_B"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestFormerNames: an older name of a flag goes on working, and may not contradict
// the present one.
func TestFormerNames(t *testing.T) {
	nodes, packing, signing := func() (Answers, *string) { a := new(Resolve); return a, &a.Nodes },
		func() (Answers, *string) { a := new(Pack); return a, &a.SigningKey },
		func() (Answers, *string) { a := new(Sign); return a, &a.SigningKey }
	for _, c := range []struct {
		command      func() (Answers, *string)
		former, name string
	}{{nodes, "site", "nodes"}, {packing, "key", "signing-key"}, {signing, "key", "signing-key"}} {
		for line, good := range map[string]bool{
			"--" + c.former + " x":                        true,
			"--" + c.name + " x":                          true,
			"--" + c.name + " x --" + c.former + " x":     true,
			"--" + c.former + " y --" + c.former + " x":   true,
			"--" + c.name + " x --" + c.former + " other": false,
			"--" + c.former + " x --" + c.name + " other": false,
		} {
			a, got := c.command()
			if err := said(t, a, line); (err == nil) != good || *got != "x" {
				t.Errorf("%T %s: %v, it is %q", a, line, err, *got)
			}
		}
		a, _ := c.command()
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		Bind(flags, a.Form())
		if f := flags.Lookup(c.former); f == nil || !f.Hidden || flags.Lookup(c.name).Hidden {
			t.Errorf("%T: the help shows --%s, or hides --%s", a, c.former, c.name)
		}
	}
}

// TestForms: each field of each command can be said by a flag, and can be shown.
func TestForms(t *testing.T) {
	for command, a := range every() {
		names := map[string]bool{}
		for _, f := range a.Form().Fields {
			if f.Help == "" || names[f.Name] || !strings.HasPrefix(f.Label(), "-") {
				t.Errorf("%s: field %+v", command, f)
			}
			names[f.Name] = true
			ways := 0
			for _, set := range []bool{f.text != nil, f.list != nil, f.flag != nil} {
				if set {
					ways++
				}
			}
			if _, ok := f.Said(); ways != 1 || ok {
				t.Errorf("%s: field %s fills %d answers, said: %v", command, f.Name, ways, ok)
			}
		}
		Bind(pflag.NewFlagSet(command, pflag.ContinueOnError), a.Form())
	}
}

func TestEnvironment(t *testing.T) {
	sign := Sign{Paths: []string{"usb"}, SigningKey: "k"}
	for text, want := range map[string]int64{"": 0, "0": 0, "1767225600": 1767225600, "soon": -1, "-1": -1, "99999999999999": -1} {
		got, err := sign.Options(Program{Lookup: environment(map[string]string{"SOURCE_DATE_EPOCH": text})})
		var wrong *Error
		switch {
		case want < 0 && (err == nil || errors.As(err, &wrong) || !strings.Contains(err.Error(), "reading SOURCE_DATE_EPOCH")):
			t.Errorf("%q: %v", text, err)
		case want >= 0 && (err != nil || text != "" && got.Now.Unix() != want || got.Now.IsZero() != (text == "")):
			t.Errorf("%q: %s, %v", text, got.Now, err)
		}
	}
	asked := func(newKey bool) ([]byte, error) { return []byte("typed"), nil }
	for name, c := range map[string]struct {
		program Program
		want    string
		err     error
	}{
		"ours":         {Program{Lookup: environment(map[string]string{"CAISSON_PASSWORD": "a", "COSIGN_PASSWORD": "b"}), Password: asked}, "a", nil},
		"cosign's":     {Program{Lookup: environment(map[string]string{"COSIGN_PASSWORD": "b"}), Password: asked}, "b", nil},
		"empty":        {Program{Lookup: environment(map[string]string{"CAISSON_PASSWORD": ""}), Password: asked}, "", nil},
		"asked":        {Program{Lookup: environment(nil), Password: asked}, "typed", nil},
		"nobody there": {Program{}, "", ErrNoPassword},
	} {
		opt, err := sign.Options(c.program)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := opt.Password(); string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
