package serve

import (
	"path/filepath"
	"strings"
)

// Unit returns a systemd unit that serves with opt. Paths are made absolute
// against the working directory of the caller.
func Unit(opt Options) string {
	args := []string{"/usr/local/bin/caisson", "serve"}
	for _, p := range opt.Paths {
		args = append(args, absolutePath(p))
	}
	for _, k := range opt.Keys {
		args = append(args, "--key", absolutePath(k))
	}
	args = append(args, "--listen", opt.Listen)
	if opt.TLSCert != "" {
		args = append(args, "--tls-cert", absolutePath(opt.TLSCert), "--tls-key", absolutePath(opt.TLSKey))
	}
	if opt.AllowExpired {
		args = append(args, "--allow-expired")
	}
	for i, a := range args {
		args[i] = unitQuote(a)
	}
	return strings.Replace(unitText, "EXEC", strings.Join(append(args, "--output", "json"), " "), 1)
}

const unitText = `[Unit]
Description=Caisson: registry, charts, models and files from a bundle
Wants=network-online.target
After=network-online.target local-fs.target

[Service]
ExecStart=EXEC
Restart=on-failure
RestartSec=2
TimeoutStopSec=45
DynamicUser=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
AmbientCapabilities=CAP_NET_BIND_SERVICE
MemoryMax=512M
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`

func absolutePath(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

// unitQuote quotes one word of ExecStart (systemd.service(5), "Command lines"):
// '%' and '$' would be expanded, and line ends would start another setting.
func unitQuote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
	if s == "" || strings.ContainsAny(s, " '\"\\;") {
		return `"` + s + `"`
	}
	return s
}
