package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// Names of settings, without what parts their words: checkForUpdates and
// CHECK_FOR_UPDATES are checkforupdates.
var (
	// asking the maker for a newer version
	updateCheck = regexp.MustCompile(`check(?:s|ing)?(?:for)?(?:new|latest|plugin|app|software)*(?:updates?|upgrades?|versions?|releases?)(?:enabled)?$|` +
		`(?:updates?|upgrades?|version|release)(?:check(?:s|er|ing)?|notifi(?:er|cations?))(?:s?enabled)?$`)
	// of versions that are no product's: of what runs beside it, or of its own data
	otherVersion = regexp.MustCompile(`(?:kube|kubernetes|k8s|api|schema|db|database|chart|crd|java|python|protocol|compatib\w*|min|minimum|` +
		`server|client|cluster|node|jvm|config|object|resource|migration|driver|cuda|kernel|upgrade|downgrade)(?:updates?|upgrades?|version|release)check|` +
		`check(?:kube|k8s|api|schema|server|client|cluster|node|config)`)
	// telling the maker how the product is used
	telemetry = regexp.MustCompile(`telemetry|phonehome|callhome|anonymous(?:usage|stat|data|report|id$)|usage(?:stat|report|data|collect|metric)|` +
		`(?:stat|report|collect|send|share|track)\w*usage|(?:send|enable|collect|share)analytics|analytics(?:enabled|reporting|tracking)|crashreport`)
	// measuring that stays within the cluster
	ownTelemetry = regexp.MustCompile(`opentelemetry|otel|otlp|telemetry(?:port|host|address|service|endpoint|path|metrics|tracing|traces|logs?|` +
		`exporter|collector|level|interval|config|filter|label|server|listen)|(?:metrics|tracing|node|gpu|dcgm|stats|istio|network|envoy)telemetry`)
	// names that turn something off when they are on
	turnsOff = regexp.MustCompile(`disable|optout|^no[a-z]|_no_|skip|without|donottrack|suppress|block|off$`)
	// what reporting belongs to where it goes to the maker
	reportingGroup = regexp.MustCompile(`analytics|usage|telemetry|stats`)
)

// checkSetting finds a setting that makes a program ask or tell its maker.
func (c *checker) checkSetting(s document.Site) {
	what := calledHome(s.Group, s.Name, s.Text)
	if what == "" {
		return
	}
	c.add(Finding{
		Code: event.CodeEgressCallHome, Line: s.Line, Text: s.Name + " = " + s.Text, What: fmt.Sprintf("%s = %s: %s", s.Name, s.Text, what),
	})
}

// calledHome says what a setting of a group makes a program do, or nothing.
func calledHome(group, name, value string) string {
	plain := plainWords(name)
	on, known := isOn(value)
	switch {
	case !known:
		return ""
	case turnsOff.MatchString(plain) || turnsOff.MatchString(strings.ToLower(name)):
		on = !on
	}
	switch {
	case !on:
		return ""
	case updateCheck.MatchString(plain) && !otherVersion.MatchString(plain):
		return "it asks its maker for newer versions"
	case telemetry.MatchString(plain) && !ownTelemetry.MatchString(plain):
		return "it tells its maker how it is used"
	case strings.HasSuffix(plain, "reportingenabled") && reportingGroup.MatchString(plainWords(group)+plain):
		return "it tells its maker how it is used"
	}
	return ""
}

// isOn says whether a value turns a switch on. known is false for other values.
func isOn(value string) (on, known bool) {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "true", "1", "on", "yes", "enabled", "enable":
		return true, true
	case "false", "0", "off", "no", "disabled", "disable":
		return false, true
	}
	return false, false
}

// plainWords is a name in lower case without what parts its words.
func plainWords(name string) string { return strings.ToLower(wordParts.Replace(name)) }

var wordParts = strings.NewReplacer("_", "", "-", "", ".", "", " ", "")

// checkHubAddress finds what is fetched from a model hub when a pod starts.
func (c *checker) checkHubAddress(s document.Site) {
	owner, rest, _ := strings.Cut(strings.TrimPrefix(s.Text, "hf://"), "/")
	name, _, _ := strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, ":")
	c.add(Finding{
		Code: event.CodeEgressRemote, Line: s.Line, Text: s.Text, Model: strings.ToLower(owner + "/" + name),
		What: fmt.Sprintf("%s is fetched from the Hugging Face hub when it is used", s.Text),
	})
}

// WithoutModels leaves out what is fetched of models that the bundle has: the site
// serves them under their own names. carried are OWNER/NAME in lower case.
func WithoutModels(found []Finding, carried []string) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Model != "" && slices.Contains(carried, f.Model) })
}
