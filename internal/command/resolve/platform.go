package resolve

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// platform is an operating system, architecture and variant in the one spelling
// that containerd gives them: arm64 without v8, arm with v7, amd64 without v1.
type platform struct{ os, arch, variant string }

// parsePlatform reads OS/ARCH[/VARIANT].
func parsePlatform(s string) (platform, error) {
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) < 2 || len(parts) > 3 {
		return platform{}, fmt.Errorf("reading platform %q: not OS/ARCH or OS/ARCH/VARIANT", s)
	}
	for _, p := range parts {
		if p == "" {
			return platform{}, fmt.Errorf("reading platform %q: an empty part", s)
		}
	}
	return platformOf(ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: strings.Join(parts[2:], "")}), nil
}

func platformOf(p ocispec.Platform) platform {
	q := platform{os: strings.ToLower(p.OS), arch: strings.ToLower(p.Architecture), variant: strings.ToLower(p.Variant)}
	switch q.arch {
	case "x86_64", "x86-64":
		q.arch = "amd64"
	case "aarch64":
		q.arch = "arm64"
	case "armhf":
		q.arch, q.variant = "arm", "v7"
	}
	switch {
	case q.arch == "arm64" && (q.variant == "8" || q.variant == "v8"):
		q.variant = ""
	case q.arch == "arm" && (q.variant == "" || q.variant == "7"):
		q.variant = "v7"
	case q.arch == "amd64" && q.variant == "v1":
		q.variant = ""
	}
	return q
}

func (p platform) isKnown() bool {
	return p.os != "" && p.arch != "" && p.os != "unknown" && p.arch != "unknown"
}

// String is OS/ARCH[/VARIANT]; an arm without variant is read back as it is.
func (p platform) String() string {
	s := p.os + "/" + p.arch
	if p.variant != "" {
		s += "/" + p.variant
	}
	return s
}
