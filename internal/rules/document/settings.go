package document

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Names and values of settings that are listed: what the lint makes of them is its
// own matter.
var (
	settingName = regexp.MustCompile(`(?i)telemetry|analytics|anonymous|usage.?(?:stat|report|data|metric|collect)|` +
		`(?:stat|report|collect|send|share|track)\w{0,24}usage|(?:phone|call).?home|do.?not.?track|reporting|crash.?report|` +
		`(?:update|upgrade|version|release)s?.?(?:check|notif)|check.{0,24}(?:update|upgrade|version|release)`)
	// data at a model hub, and in a public cloud's store
	hubAddress   = regexp.MustCompile(`^(?:--?[\w.-]+=)?(hf://[^/\s]+/[^\s]+)$`)
	cloudAddress = regexp.MustCompile(`^(?:gs://[^/\s]+/|https://[^/\s]+/).`)
	addressName  = regexp.MustCompile(`(?i)(?:storage|model|dataset).?ur[il]$`)
	// NAME = VALUE, NAME: VALUE or NAME=VALUE in a file of settings, and its [section]
	settingLine = regexp.MustCompile(`^\s*(?:export\s+)?["']?([A-Za-z][A-Za-z0-9_.-]{2,80})["']?\s*[=:]\s*["']?([^"'#;]*?)["']?\s*(?:[#;].*)?,?$`)
	sectionLine = regexp.MustCompile(`^\s*\[+\s*([A-Za-z0-9_."' -]+?)\s*\]+\s*$`)
)

// settingFiles are files of lines that set something.
var settingFiles = []string{".ini", ".conf", ".cfg", ".cnf", ".toml", ".properties", ".env", ".hcl", ""}

// maxSetting bounds a setting's value, in bytes.
const maxSetting = 512

// listSetting lists the value of a mapping's key, or of a variable, that may make a
// program call out.
func (w *walker) listSetting(m mapping, value *yaml.Node, at *position) {
	n := follow(value)
	if w.quiet.egress || n.Kind != yaml.ScalarNode || len(n.Value) > maxSetting {
		return
	}
	name, group := at.key, at.above.key
	if name == "value" {
		if named := m.word("name"); named != "" {
			name, group = named, ""
		}
	}
	w.addSetting(name, group, n.Value, n, at)
	if text := strings.TrimSpace(n.Value); w.lines.depth == 0 && addressName.MatchString(name) && cloudAddress.MatchString(text) {
		w.add(Site{What: Address, Text: text, Reader: name}, n, at)
	}
}

// addSetting lists a setting whose name says that it may be of interest. group is
// what it belongs to: the key above it, or the section of its file.
func (w *walker) addSetting(name, group, value string, n *yaml.Node, at *position) {
	if value = strings.TrimSpace(value); value != "" && settingName.MatchString(name) {
		w.add(Site{What: Setting, Name: name, Group: group, Text: value}, n, at)
	}
}

// listHubAddress lists a string of an object itself that is the address of something
// at a model hub.
func (w *walker) listHubAddress(n *scalar, at *position) {
	if w.quiet.egress || w.lines.depth > 0 || len(n.Value) > maxSetting || n.ShortTag() != "!!str" {
		return
	}
	if m := hubAddress.FindStringSubmatch(strings.TrimSpace(n.Value)); m != nil {
		w.add(Site{What: HubAddress, Text: m[1]}, n, at)
	}
}

// listFlag lists a flag among the words of a command: --name=value, --name value,
// or --name alone, which turns it on.
func (w *walker) listFlag(words []*yaml.Node, i int, at *position) {
	name, value, ok := strings.Cut(words[i].Value, "=")
	if !strings.HasPrefix(name, "-") || len(words[i].Value) > maxSetting || strings.ContainsAny(name, " \n") {
		return
	}
	if !ok {
		value = "true"
		if i+1 < len(words) && !strings.HasPrefix(words[i+1].Value, "-") {
			value = words[i+1].Value
		}
	}
	w.addSetting(strings.TrimLeft(name, "-"), "", value, words[i], at)
}

// listSettingLines lists the settings of a file that is no document.
func (w *walker) listSettingLines(name string, n *scalar, at *position) {
	if w.quiet.egress || !isSettingFile(name) || len(n.Value) > maxText || !settingName.MatchString(n.Value) {
		return
	}
	inner, line, section := w.lines.of(n), 0, ""
	for text := range strings.Lines(n.Value) {
		line++
		text = strings.TrimRight(text, "\r\n")
		if m := sectionLine.FindStringSubmatch(text); m != nil {
			section = m[1]
		} else if m := settingLine.FindStringSubmatch(text); m != nil {
			w.addSettingLine(m[1], section, m[2], inner.at(line), at)
		}
	}
}

// addSettingLine lists a setting that stands in a line of a text.
func (w *walker) addSettingLine(name, section, value string, line int, at *position) {
	outer := w.lines
	defer func() { w.lines = outer }()
	w.lines = lines{base: line, fixed: true, depth: outer.depth + 1}
	w.addSetting(name, section, value, &yaml.Node{Line: 1}, at)
}

func isSettingFile(name string) bool {
	return slices.Contains(settingFiles, strings.ToLower(path.Ext(name)))
}
