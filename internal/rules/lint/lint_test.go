package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

func inScript(script string) string {
	var out []string
	for _, h := range shellHits(script, 0) {
		out = append(out, fmt.Sprintf("%d %s %s", h.line, strings.TrimPrefix(h.code, "egress/"), h.text))
	}
	return strings.Join(out, "\n")
}

func TestShellScripts(t *testing.T) {
	for script, want := range map[string]string{
		"set -e\napk add --no-cache kubectl\n":                "2 download apk add --no-cache kubectl",
		"echo 'pip install x' # apk add y\n":                  "",
		"pip install \\\n  kfp==2.7 && run":                   "1 download pip install kfp==2.7",
		"if ! python3 -m pip install -q kfp; then exit 1; fi": "1 download if ! python3 -m pip install -q kfp",
		"X=\"$(curl -sSL https://get.helm.sh/v3)\"":           "1 download curl -sSL https://get.helm.sh/v3",
		"a\nY=`wget -qO- http://ifconfig.me/`":                "2 download wget -qO- http://ifconfig.me/",
		"curl http://web.ns.svc:80/x http://localhost http://127.0.0.1 http://10.1.2.3/ http://kubernetes.default http://web/": "",
		"curl http://minio.kubeflow:9000/health https://${HOST}/x https://api.corp.internal/":                                  "",
		"curl http://8.8.8.8/x":                                                   "1 download curl http://8.8.8.8/x",
		"sudo -E apt-get -y -o A=b install gcc":                                   "1 download sudo -E apt-get -y -o A=b install gcc",
		"DEBIAN_FRONTEND=x apt update":                                            "1 download DEBIAN_FRONTEND=x apt update",
		"git clone --depth 1 https://github.com/x/y /tmp":                         "1 download git clone --depth 1 https://github.com/x/y /tmp",
		"git clone git@github.com:x/y":                                            "1 download git clone git@github.com:x/y",
		"git clone /repo work; git clone $REPO; git clone http://gitea.git.svc/x": "",
		"git commit -m 'git clone https://github.com/x/y'":                        "",
		"pip install --no-index -f /wheels kfp":                                   "",
		"pip install --index-url http://devpi.pypi.svc/simple kfp":                "",
		"pip list; apk info; apt-get clean; npm run build; go build ./...; conda activate x; helm template ./chart": "",
		"go install sigs.k8s.io/kind@v0.30.0; npm ci; hf download a/b":                                              "1 download go install sigs.k8s.io/kind@v0.30.0\n1 download npm ci\n1 download hf download a/b",
		"sh -c 'yum install -y x'":                                            "1 download yum install -y x",
		"bash -ec \"sh -c 'dnf install -y x'\"":                               "1 download dnf install -y x",
		"cat <<EOF > f\napk add x\nEOF\napk add y":                            "4 download apk add y",
		"cat <<-'EOF'\n\tapk add x\n\tEOF\nbash <<E\ntrue\napk add z\nE\n":    "6 download apk add z",
		"kubectl apply -f https://github.com/x/y/releases/a.yaml":             "1 remote kubectl apply -f https://github.com/x/y/releases/a.yaml",
		"kubectl --server=https://api.acme.com apply -f a.yaml":               "",
		"kubectl apply -k github.com/x/y?ref=v1":                              "1 remote kubectl apply -k github.com/x/y?ref=v1",
		"uv pip install torch; uvx ruff; uv run x":                            "1 download uv pip install torch\n1 download uvx ruff",
		"find . | xargs -n 1 wget https://dl.acme.org/x":                      "1 download xargs -n 1 wget https://dl.acme.org/x",
		"case $1 in a) apk add x ;; esac":                                     "1 download apk add x",
		"python3 <<EOF\nimport os\nos.system('pip install x')\nEOF":           "3 download os.system('pip install x')",
		"eval \"apk add x\"":                                                  "1 download apk add x",
		"timeout 30 curl https://dl.acme.org/x":                               "1 download timeout 30 curl https://dl.acme.org/x",
		"RUN apt-get update && \\\n  rm -rf /x":                               "1 download RUN apt-get update",
		"x=$((4<<30))\ncurl https://dl.acme.org/x\n":                          "2 download curl https://dl.acme.org/x",
		"2>&1 curl https://dl.acme.org/x":                                     "1 download curl https://dl.acme.org/x",
		"curl https://dl.acme.org/x > /tmp/x 2>&1 | tee y":                    "1 download curl https://dl.acme.org/x /tmp/x",
		"cat <<EOF\nat $(curl https://dl.acme.org/x)\nEOF":                    "2 download curl https://dl.acme.org/x",
		"bash <<< 'apk add x'":                                                "1 download apk add x",
		"[[ -n $(apk add x) && a =~ (b|c) ]] || apk add y":                    "1 download apk add x\n1 download apk add y",
		"echo $(( $(curl https://dl.acme.org/x) + 1 ))":                       "1 download curl https://dl.acme.org/x",
		"for i in a; do apk add $i; done":                                     "1 download do apk add $i",
		"while ! apk add x; do :; done":                                       "1 download while ! apk add x",
		"f() {\n  apk add ${X:-y}\n}\nf":                                      "2 download apk add ${X:-y}",
		"export X=$(curl https://dl.acme.org/x)":                              "1 download curl https://dl.acme.org/x",
		"cat > f <<'E' && apk add x\nnever $(apk add y)\nE":                   "1 download apk add x",
		"apk add x\nfi\n2>&1 curl https://dl.acme.org/x $((1<<2))\napk add y": "1 download apk add x\n3 download curl https://dl.acme.org/x $\n4 download apk add y",
	} {
		if got := inScript(script); got != want {
			t.Errorf("%q: found\n%s\nwant\n%s", script, got, want)
		}
	}
}

func TestPythonScripts(t *testing.T) {
	for line, want := range map[string]bool{
		`subprocess.check_call([sys.executable, "-m", "pip", "install", "kfp"])`: true,
		`os.system("apk add x")`:                                   true,
		`requests.get("https://dl.acme.org/x")`:                    true,
		`requests.get("http://feast.feast.svc/x")`:                 false,
		`requests.get(url)`:                                        false,
		`# requests.get("https://dl.acme.org/x")`:                  false,
		`print("pip install kfp to use this")`:                     false,
		`raise ImportError("run pip install kfp")`:                 true, // cannot be told from a call by its line
		`urllib.request.urlretrieve("https://dl.acme.org/x", "x")`: true,
		`path = snapshot_download(repo_id="a/b")`:                  true,
		`def snapshot_download(repo):`:                             false,
	} {
		if got := len(pythonHits(line, 0)) > 0; got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

// check searches documents as every client does.
func check(docs []document.Document) ([]Finding, error) {
	sites, err := document.Read(docs)
	if err != nil {
		return nil, err
	}
	return Check(sites), nil
}

// rendered reads testdata/NAME as a chart's rendered templates.
func rendered(t *testing.T, name string) []document.Document {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", name, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatal(name, paths, err)
	}
	var docs []document.Document
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for _, source := range strings.SplitAfter(string(data), "\n---\n") {
			docs = append(docs, document.Document{Template: filepath.Base(p), Line: line, Source: strings.TrimSuffix(source, "---\n")})
			line += strings.Count(source, "\n")
		}
	}
	return docs
}

// traps are the places of testdata/traps that are marked, as FILE:LINE CODE.
func traps(t *testing.T, docs []document.Document, codes ...string) []string {
	t.Helper()
	var out []string
	for _, d := range docs {
		for i, line := range strings.Split(d.Source, "\n") {
			for _, code := range codes {
				if strings.Contains(line, "TRAP "+code) {
					out = append(out, fmt.Sprintf("%s:%d egress/%s", d.Template, d.Line+i, code))
				}
			}
		}
	}
	return out
}

func TestEveryTrapIsNamedAndNothingElse(t *testing.T) {
	docs := rendered(t, "traps")
	found, err := check(docs)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.Place()+" "+f.Code)
		if f.What == "" || f.Why == "" || f.Fix == "" || f.Text == "" || len(f.Text) > maxExcerpt {
			t.Errorf("incomplete: %+v", f)
		}
	}
	want := traps(t, docs, "download", "remote", "pull-always")
	if len(want) < 12 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestFalsePositiveTrapsStayQuiet(t *testing.T) {
	found, err := check(rendered(t, "quiet"))
	found = WithoutModels(found, []string{"acme/tiny"}) // which the bundle has
	if err != nil || len(found) != 0 {
		t.Errorf("%v: %+v", err, found)
	}
}

func TestImages(t *testing.T) {
	named := []document.Site{
		{Ref: "registry.kube-system.svc:5000/x:1", Template: "a.yaml", Line: 2, Path: "env"}, {Ref: "localhost:5000/x:1", Template: "a.yaml", Line: 2, Path: "env"},
		{Ref: "ghcr.io/x/have:1", Template: "a.yaml", Line: 3, Path: "env"}, {Ref: "ghcr.io/x/lack:1", Template: "a.yaml", Line: 4, Path: "env"},
		{Ref: "thanos", Template: "a.yaml", Line: 5, Path: "image"}, {Ref: "ghcr.io/x/lack:1", Template: "a.yaml", Line: 4, Path: "env"},
	}
	found := Images(nil, named, func(s document.Site) bool { return strings.Contains(s.Ref, "have") })
	if len(found) != 2 || found[0].Place() != "a.yaml:4" || found[0].Warning || !found[1].Warning || found[0].Code != event.CodeEgressImage {
		t.Errorf("%+v", found)
	}
}

func TestSettle(t *testing.T) {
	found := []Finding{
		{Code: event.CodeEgressDownload, Template: "c/templates/a.yaml", Line: 3, Text: "apk add kubectl"},
		{Code: event.CodeEgressDownload, Template: "c/templates/b.yaml", Line: 9, Text: "pip install x"},
		{Code: event.CodeEgressImage, Template: "c/templates/a.yaml", Line: 4, Text: "ghcr.io/x/y:1"},
	}
	rules := []lock.Allow{
		{Code: event.CodeEgressDownload, Match: "apk add *", Reason: "why"},
		{Code: event.CodeEgressImage, Match: "*/a.yaml", Reason: "why"},
		{Code: event.CodeEgressDownload, Match: "never", Reason: "why"},
		{Code: event.CodeEgressDownload, Match: "c/templates/b.yaml:8", Reason: "why"},
	}
	open, settled, stale := Settle(found, rules)
	if len(open) != 1 || open[0].Text != "pip install x" || len(settled) != 2 || settled[1].Rule.Code != event.CodeEgressImage || len(stale) != 2 || stale[0].Match != "never" {
		t.Errorf("open %+v\nsettled %+v\nstale %+v", open, settled, stale)
	}
}

func TestBoundsAreSaid(t *testing.T) {
	var b strings.Builder
	b.WriteString("kind: Pod\nspec:\n  containers:\n")
	for i := range MaxFindings + 7 {
		fmt.Fprintf(&b, "  - command: [apk, add, p%d]\n", i)
	}
	found, err := check([]document.Document{{Template: "t", Line: 1, Source: b.String()}})
	last := found[len(found)-1]
	if err != nil || len(found) != MaxFindings+1 || last.Code != event.CodeEgressMore || last.Warning || !strings.HasPrefix(last.What, "7 more") {
		t.Errorf("%v: %d, %+v", err, len(found), last)
	}
	deep := strings.Repeat("{a: ", 210) + "1" + strings.Repeat("}", 210)
	if _, err := check([]document.Document{{Template: "t", Line: 1, Source: deep}}); err == nil {
		t.Error("nested without end, and no error")
	}
}

func TestOutside(t *testing.T) {
	for address, want := range map[string]bool{
		"https://github.com/x": true, "http://pypi.org": true, "https://dl.k8s.io/x": true, "https://files.pythonhosted.org:443/x": true, "http://1.1.1.1": true,
		"http://web": false, "http://web.demo": false, "https://10.0.0.1": false, "http://[::1]/": false, "http://169.254.169.254/latest": false,
		"http://[2606:4700::1111]/": true, "https://$(HOST).com/": false, "https://{{ x }}.com": false, "http://a.b.svc.cluster.local.": false, "http://x.local": false,
		"http://192.168.1.1:5000": false, "http://100.64.1.1": false, "http://%zz": false, "https://": false,
	} {
		if got := leadsOutside(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, name := range []string{"traps", "quiet"} {
		paths, _ := filepath.Glob(filepath.Join("testdata", name, "*.yaml"))
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Add("a: &a [*a]\n")
	f.Add("command: [sh, -c, 'a $(b `c \"$(d <<E']\nargs: |\n  x <<-'E'\n")
	f.Fuzz(func(t *testing.T, source string) {
		found, err := check([]document.Document{{Template: "t", Line: 1, Source: source}})
		if err != nil {
			return
		}
		lines := strings.Count(source, "\n") + 1
		for _, x := range found {
			if x.Line < 0 || x.Line > lines || x.Code == "" || len(x.Text) > maxExcerpt || strings.ContainsAny(x.Text+x.What, "\n\x1b") || x.Fix == "" {
				t.Errorf("%+v in %d lines", x, lines)
			}
		}
	})
}

func FuzzShell(f *testing.F) {
	f.Add("a | b && c <<E\nx\nE\n\"$(d)\" 'e' `f` # g")
	f.Fuzz(func(t *testing.T, script string) {
		for _, c := range readCommands(script) {
			if len(c.words) == 0 || c.line < 1 || c.line > strings.Count(script, "\n")+1 {
				t.Errorf("%+v", c)
			}
		}
	})
}

// TestNestedScripts: what is nested without end is scanned and ends nothing.
func TestNestedScripts(t *testing.T) {
	for name, unit := range map[string]string{"parentheses": "(", "substitutions": "$(", "sums": "$((", "braces": "{ ", "pipes": "a|", "chains": "a&&", "conditions": "if ", "quotes": "\"$("} {
		script := "apk add x\n" + strings.Repeat(unit, maxScript/len(unit)/2)
		if got := inScript(script); !strings.HasPrefix(got, "1 download apk add x") {
			t.Errorf("%s: found %q", name, got)
		}
	}
}
