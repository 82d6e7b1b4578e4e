package lint

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// verdict is what a command would do: a code and a sentence, or nothing.
type verdict struct{ code, what string }

// maxShells bounds shells in shells: sh -c "sh -c …".
const maxShells = 4

var (
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\+?=`)
	digits     = regexp.MustCompile(`^[0-9.]+[smhd]?$`)
	// words that precede the command they run
	prefixes = []string{"if", "then", "else", "elif", "while", "until", "do", "!", "time", "exec", "sudo", "command", "nohup", "env", "nice",
		"timeout", "xargs", "chroot", "tini", "dumb-init", "--", "stdbuf", "builtin", "retry", "RUN"}
	prefixesWithUser = []string{"su-exec", "gosu", "setpriv"}
	pipName          = regexp.MustCompile(`^pip[0-9.]*$`)
	shellFlag        = regexp.MustCompile(`^-[a-z]*c[a-z]*$`)
)

// verdictOf says what one command, given as its words, would fetch.
func verdictOf(words []string) verdict {
	words = unwrapCommand(words)
	if len(words) == 0 {
		return verdict{}
	}
	name, args := path.Base(words[0]), words[1:]
	switch {
	case document.LanguageOf(name) == document.Python:
		if i := slices.Index(args, "-m"); i >= 0 && i+1 < len(args) && pipName.MatchString(args[i+1]) {
			return pipVerdict(args[i+2:])
		}
		return verdict{}
	case pipName.MatchString(name):
		return pipVerdict(args)
	}
	if t, ok := tools[name]; ok {
		return t.verdictOf(name, args)
	}
	switch name {
	case "curl", "wget", "aria2c", "axel":
		if a := outsideIn(strings.Join(args, " ")); a != "" {
			return verdict{event.CodeEgressDownload, name + " fetches " + a}
		}
	case "git":
		return gitVerdict(args)
	case "go":
		return goVerdict(args)
	case "kubectl", "oc", "kustomize", "helm":
		return remoteFileVerdict(name, args)
	case "uvx", "npx":
		return verdict{event.CodeEgressDownload, name + " downloads the program it runs"}
	}
	return verdict{}
}

// unwrapCommand drops what precedes the command's own name.
func unwrapCommand(words []string) []string {
	for len(words) > 0 {
		w := words[0]
		switch base := path.Base(w); {
		case assignment.MatchString(w):
			words = words[1:]
		case slices.Contains(prefixesWithUser, base) && len(words) > 1:
			words = words[2:]
		case slices.Contains(prefixes, base):
			words = afterFlags(words[1:])
		default:
			return words
		}
	}
	return nil
}

// afterFlags drops the flags and numbers of sudo, timeout and their like.
func afterFlags(words []string) []string {
	for len(words) > 0 && (strings.HasPrefix(words[0], "-") && words[0] != "--" || digits.MatchString(words[0])) {
		words = words[1:]
	}
	return words
}

// tool is a program whose subcommands download, whatever they name.
type tool struct {
	verbs   []string // one of them is the first word that is no flag
	what    string
	offline []string // flags that keep it from the network
}

var tools = map[string]tool{
	"apk":             {[]string{"add", "update", "upgrade", "fetch"}, "downloads Alpine packages", []string{"--no-network"}},
	"apt":             {[]string{"install", "update", "upgrade", "full-upgrade", "dist-upgrade", "download"}, "downloads Debian packages", []string{"--no-download"}},
	"apt-get":         {[]string{"install", "update", "upgrade", "dist-upgrade", "download", "build-dep", "source"}, "downloads Debian packages", []string{"--no-download"}},
	"yum":             {[]string{"install", "update", "upgrade", "localinstall", "groupinstall", "makecache", "reinstall"}, "downloads RPM packages", []string{"-C", "--cacheonly"}},
	"dnf":             {[]string{"install", "update", "upgrade", "groupinstall", "makecache", "download", "builddep"}, "downloads RPM packages", []string{"-C", "--cacheonly"}},
	"microdnf":        {[]string{"install", "update", "upgrade"}, "downloads RPM packages", nil},
	"tdnf":            {[]string{"install", "update", "upgrade", "makecache"}, "downloads RPM packages", nil},
	"zypper":          {[]string{"install", "in", "update", "up", "refresh", "ref", "dup"}, "downloads RPM packages", []string{"--no-refresh"}},
	"npm":             {[]string{"install", "i", "ci", "add", "update"}, "downloads JavaScript packages", []string{"--offline"}},
	"pnpm":            {[]string{"install", "i", "add", "update", "dlx"}, "downloads JavaScript packages", []string{"--offline"}},
	"yarn":            {[]string{"install", "add", "upgrade", "dlx"}, "downloads JavaScript packages", []string{"--offline"}},
	"uv":              {[]string{"pip", "add", "sync", "lock", "tool"}, "downloads Python packages", []string{"--offline"}},
	"poetry":          {[]string{"install", "add", "update"}, "downloads Python packages", nil},
	"conda":           {[]string{"install", "create", "update", "env"}, "downloads conda packages", []string{"--offline"}},
	"mamba":           {[]string{"install", "create", "update", "env"}, "downloads conda packages", []string{"--offline"}},
	"micromamba":      {[]string{"install", "create", "update", "env"}, "downloads conda packages", []string{"--offline"}},
	"huggingface-cli": {[]string{"download"}, "downloads from the Hugging Face hub", nil},
	"hf":              {[]string{"download"}, "downloads from the Hugging Face hub", nil},
	"modelscope":      {[]string{"download"}, "downloads a model", nil},
	"gem":             {[]string{"install", "update"}, "downloads Ruby packages", []string{"--local", "-l"}},
	"cargo":           {[]string{"install", "fetch"}, "downloads Rust packages", []string{"--offline"}},
	"snap":            {[]string{"install", "refresh"}, "downloads snaps", nil},
}

func (t tool) verdictOf(name string, args []string) verdict {
	verb, rest := findSubcommand(args, t.verbs)
	switch verb {
	case "":
		return verdict{}
	case "pip": // uv pip install
		return pipVerdict(rest)
	}
	if slices.ContainsFunc(args, func(a string) bool { return slices.Contains(t.offline, a) }) || onlyInside(args) || allFiles(rest) {
		return verdict{}
	}
	return verdict{event.CodeEgressDownload, name + " " + verb + " " + t.what}
}

// findSubcommand is the first word that is one of verbs, and what follows it; only
// flags and their values may stand before it.
func findSubcommand(args, verbs []string) (string, []string) {
	for i, a := range args {
		switch {
		case slices.Contains(verbs, a):
			return a, args[i+1:]
		case strings.HasPrefix(a, "-") || i > 0 && strings.HasPrefix(args[i-1], "-"):
		default:
			return "", nil
		}
	}
	return "", nil
}

// allFiles says whether everything named lies on the disk already.
func allFiles(args []string) bool {
	some := false
	for _, a := range args {
		switch {
		case strings.HasPrefix(a, "-"):
		case strings.HasPrefix(a, "/"), strings.HasPrefix(a, "./"), strings.HasPrefix(a, "file:"):
			some = true
		default:
			return false
		}
	}
	return some
}

func pipVerdict(args []string) verdict {
	verb, rest := findSubcommand(args, []string{"install", "download", "wheel"})
	if verb == "" || slices.Contains(args, "--no-index") || slices.Contains(args, "--offline") || onlyInside(args) {
		return verdict{}
	}
	if slices.Contains(args, "--no-deps") && allFiles(rest) {
		return verdict{}
	}
	return verdict{event.CodeEgressDownload, "pip " + verb + " downloads Python packages"}
}

func gitVerdict(args []string) verdict {
	verb, rest := findSubcommand(args, []string{"clone", "fetch", "pull", "submodule", "ls-remote", "remote"})
	for _, a := range rest {
		if repositoryOutside(a) {
			return verdict{event.CodeEgressDownload, "git " + verb + " fetches " + a}
		}
	}
	return verdict{}
}

// remoteVerbs are the subcommands whose files may lie at an address.
var remoteVerbs = []string{"apply", "create", "replace", "delete", "diff", "kustomize", "build", "install", "upgrade", "repo", "pull", "template"}

// remoteFileVerdict finds kubectl apply -f ADDRESS and its like.
func remoteFileVerdict(name string, args []string) verdict {
	verb, rest := findSubcommand(args, remoteVerbs)
	for i, a := range rest {
		flag, value, ok := strings.Cut(a, "=")
		if ok && strings.HasPrefix(a, "-") {
			a = value
		} else if i > 0 {
			flag = rest[i-1]
		}
		if flag != "--server" && flag != "-s" && isRemote(a) {
			return verdict{event.CodeEgressRemote, name + " " + verb + " reads " + a}
		}
	}
	return verdict{}
}

// goVerdict is the go command: it downloads what is named with a version.
func goVerdict(args []string) verdict {
	verb, rest := findSubcommand(args, []string{"install", "get", "mod"})
	switch {
	case verb == "install" && slices.ContainsFunc(rest, func(a string) bool { return strings.Contains(a, "@") }), verb == "get":
		return verdict{event.CodeEgressDownload, "go " + verb + " downloads modules"}
	case verb == "mod" && slices.Contains(rest, "download"):
		return verdict{event.CodeEgressDownload, "go mod download downloads modules"}
	}
	return verdict{}
}

// isRemote says whether s names something that kustomize or kubectl would fetch.
func isRemote(s string) bool {
	if strings.ContainsAny(s, " \t\n${}") {
		return false
	}
	if repositoryOutside(s) {
		return true
	}
	for _, host := range []string{"github.com/", "gitlab.com/", "bitbucket.org/", "raw.githubusercontent.com/"} {
		if strings.HasPrefix(s, host) {
			return true
		}
	}
	return false
}

// hit is something found in a script.
type hit struct {
	verdict
	line int // within the script, from 1
	text string
}

// shellHits searches a shell script.
func shellHits(script string, depth int) []hit {
	var out []hit
	for _, c := range readCommands(script) {
		if v := verdictOf(c.words); v.code != "" {
			out = append(out, hit{v, c.line, c.text})
		}
		if depth < maxShells {
			out = append(out, innerHits(c, depth)...)
		}
	}
	return out
}

// innerHits searches what a command hands to a shell or to Python.
func innerHits(c command, depth int) []hit {
	words := unwrapCommand(c.words)
	if len(words) == 0 {
		return nil
	}
	search := searchOf(document.LanguageOf(words[0]))
	switch {
	case path.Base(words[0]) == "eval" && len(words) > 1:
		return moveHits(shellHits(strings.Join(words[1:], " "), depth+1), c.line, true)
	case search == nil:
		return nil
	}
	var out []hit
	for i := 1; i+1 < len(words); i++ {
		if shellFlag.MatchString(words[i]) {
			out = moveHits(search(words[i+1], depth+1), c.line, !strings.Contains(words[i+1], "\n"))
			break
		}
	}
	if c.body != "" {
		out = append(out, moveHits(search(c.body, depth+1), c.at, false)...)
	}
	return out
}

// moveHits shifts hits to a script that begins at line, or puts all on it.
func moveHits(hits []hit, line int, one bool) []hit {
	for i := range hits {
		if one {
			hits[i].line = line
		} else {
			hits[i].line += line - 1
		}
	}
	return hits
}

var (
	pythonPip   = regexp.MustCompile(`\bpip[0-9.]*['"]?[\s,]+['"]?(install|download)\b`)
	pythonFetch = regexp.MustCompile(`\b(urlopen|urlretrieve|requests\.(get|post|request)|httpx\.(get|stream)|wget\.download|snapshot_download|hf_hub_download|load_state_dict_from_url)\s*\(`)
	pythonShell = regexp.MustCompile(`(?:os\.system|os\.popen|subprocess\.\w+)\(\s*[frb]*(?:"([^"]*)"|'([^']*)')`)
)

// pythonHits searches a Python script, line by line.
func pythonHits(script string, depth int) []hit {
	var out []hit
	n := 0
	for line := range strings.Lines(script) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if v := pythonLine(line, depth); v.code != "" {
			out = append(out, hit{v, n, line})
		}
	}
	return out
}

func pythonLine(line string, depth int) verdict {
	if m := pythonShell.FindStringSubmatch(line); m != nil && depth < maxShells {
		for _, h := range shellHits(m[1]+m[2], depth+1) {
			return h.verdict
		}
	}
	if pythonPip.MatchString(line) && strings.ContainsAny(line, `[("'`) && !strings.Contains(line, "--no-index") && !strings.Contains(line, "print(") && !onlyInside([]string{line}) {
		return verdict{event.CodeEgressDownload, "pip downloads Python packages"}
	}
	m := pythonFetch.FindString(line)
	switch {
	case strings.HasPrefix(m, "snapshot_download"), strings.HasPrefix(m, "hf_hub_download"):
		if strings.HasPrefix(line, "def ") {
			return verdict{}
		}
		return verdict{event.CodeEgressDownload, "it downloads from the Hugging Face hub"}
	case m != "":
		if a := outsideIn(line); a != "" {
			return verdict{event.CodeEgressDownload, "it fetches " + a}
		}
	}
	return verdict{}
}
