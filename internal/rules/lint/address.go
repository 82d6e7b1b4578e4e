package lint

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	// an address with a scheme, up to what ends it in a shell or in code
	addressRule = regexp.MustCompile(`(?:https?|ftp)://[^\s'"` + "`" + `<>|;()\\,]+`)
	hostRule    = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+\.?$`)
	// git@host:path and ssh://git@host/path
	scpRule = regexp.MustCompile(`^[a-zA-Z0-9._-]+@([a-zA-Z0-9.-]+):[^/].*$`)
	// a public top-level domain, as opposed to a namespace in NAME.NAMESPACE
	wellKnown = regexp.MustCompile(`(?i)\.(com|org|net|edu|gov|mil|int|info|biz|name|app|dev|page|cloud|site|online|tech|store|xyz|sh|io|ai|[a-z]{2})\.?$`)
)

// insideSuffixes end names that only a site or a cluster resolves.
var insideSuffixes = []string{".svc", ".cluster.local", ".local", ".localhost", ".internal", ".intranet", ".lan", ".home", ".corp", ".private", ".home.arpa", ".localdomain", ".default"}

// leadsOutside says whether an address certainly leads out of a site: its host is
// written out, has a public name or a public IP address.
func leadsOutside(address string) bool {
	u, err := url.Parse(strings.TrimRight(address, ".,:"))
	if err != nil || strings.ContainsAny(u.Host, "${}%*") {
		return false
	}
	return outsideHost(u.Hostname(), u.Port())
}

func outsideHost(host, port string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate() && !netip.MustParsePrefix("100.64.0.0/10").Contains(ip)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !hostRule.MatchString(host) || strings.Contains(host, ".svc.") {
		return false
	}
	if slices.ContainsFunc(insideSuffixes, func(s string) bool { return strings.HasSuffix(host, s) }) {
		return false
	}
	if strings.Count(host, ".") == 1 { // perhaps SERVICE.NAMESPACE
		return wellKnown.MatchString(host) && (port == "" || port == "80" || port == "443")
	}
	return true
}

// insideName says whether an image reference names a host that only a cluster or
// a machine resolves.
func insideName(ref string) bool {
	host, _, ok := strings.Cut(ref, "/")
	host, _, _ = strings.Cut(host, ":")
	host = strings.ToLower(host)
	return ok && (host == "localhost" || strings.Contains(host, ".svc.") || slices.ContainsFunc(insideSuffixes, func(s string) bool { return strings.HasSuffix(host, s) }))
}

// outsideIn finds the first address in text that leads out.
func outsideIn(text string) string {
	for _, a := range addressRule.FindAllString(text, 50) {
		if leadsOutside(a) {
			return a
		}
	}
	return ""
}

// onlyInside says whether words hold addresses, and none leads out for certain.
func onlyInside(words []string) bool {
	some := false
	for _, w := range words {
		for _, a := range addressRule.FindAllString(w, 50) {
			some = true
			if leadsOutside(a) {
				return false
			}
		}
	}
	return some
}

// repositoryOutside says whether a git address leads out.
func repositoryOutside(s string) bool {
	if m := scpRule.FindStringSubmatch(s); m != nil {
		return outsideHost(m[1], "")
	}
	for _, scheme := range []string{"https://", "http://", "git://", "ssh://", "git+https://", "git::https://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return leadsOutside("https://" + rest)
		}
	}
	return false
}

// isCloudStore says whether an address is that of a public cloud's store.
func isCloudStore(s string) bool { return strings.HasPrefix(s, "gs://") }
