package upstreamtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// stackYAML is the demo's stack; %s are the hashes of its two files.
const stackYAML = `apiVersion: caisson.dev/v1alpha1
kind: Stack
metadata:
  name: demo
  version: 1.0.0
platforms: [linux/amd64]
kubernetes:
  versions: ["1.33", "1.36"]
components:
  - name: certs
    namespace: certs
    charts:
      - name: certs
        source: oci://ghcr.io/acme/charts/certs
        version: 0.4.0
    ready:
      - {kind: Deployment, name: certs, condition: Available}
  - name: web
    needs: [certs]
    namespace: web
    images:
      - quay.io/acme/tool:1
    charts:
      - name: web
        source: oci://ghcr.io/acme/charts/web
        version: 1.2.3
        values: {replicas: 2}
        valuesFiles: [web.yaml]
    models:
      - name: tiny
        source: hf://acme/tiny-llm
        revision: main
        include: ["*.safetensors", "*.json"]
    files:
      - name: driver
        url: https://dl.acme.example/driver.run
        sha256: "%s"
    manifests: [./extra.yaml]
    ready:
      - {kind: Deployment, name: web, condition: Available}
      - {kind: Deployment, name: web-proxy, condition: Available}
  - name: old
    needs: [certs]
    namespace: old
    charts:
      - name: old
        source: https://charts.acme.example/stable
        chart: old
        version: 0.9.0
    ready:
      - {kind: Deployment, name: old, condition: Available}
  - name: tool
    needs: [web]
    namespace: tool
    optional: true
    charts:
      - name: tool
        source: oci://ghcr.io/acme/charts/tool
        version: 1.0.0+acme.1
    files:
      - name: firmware
        url: https://dl.acme.example/firmware.bin
        sha256: "%s"
    ready:
      - {kind: Deployment, name: tool, condition: Available}
`

const webValues = `greeting: hello from the demo
service:
  port: 8080
`

const extraManifest = `apiVersion: v1
kind: ConfigMap
metadata:
  name: extra
  namespace: web
data:
  motto: carried across
`

// StackYAML returns the demo's stack. It names web.yaml and extra.yaml beside
// itself; see WriteDir.
func (u *Upstream) StackYAML() []byte {
	driver, _ := u.files.getFile("/driver.run")
	firmware, _ := u.files.getFile("/firmware.bin")
	return fmt.Appendf(nil, stackYAML, driver.sha256, firmware.sha256)
}

// UpstreamsYAML returns the rewrites that lead the names in the stacks here.
func (u *Upstream) UpstreamsYAML() []byte {
	var b strings.Builder
	b.WriteString("apiVersion: caisson.dev/v1alpha1\nkind: Upstreams\nrewrites:\n")
	rewrite := func(from, to string) {
		fmt.Fprintf(&b, "  - {from: %q, to: %q}\n", from, "http://"+to)
	}
	for _, host := range []string{"ghcr.io", "quay.io", "registry.k8s.io", "docker.io"} {
		rewrite(host, u.addr.Registry+"/"+host)
	}
	rewrite("https://huggingface.co", u.addr.Hub)
	rewrite("https://charts.acme.example", u.addr.Charts)
	rewrite("https://dl.acme.example", u.addr.Files)
	for _, host := range []string{"github.com", "raw.githubusercontent.com"} {
		rewrite("https://"+host, u.addr.Files+"/"+host)
	}
	if u.workload != nil {
		rewrite(WorkloadHost, u.addr.Workload+"/"+WorkloadHost)
	}
	return []byte(b.String())
}

// Local returns the files that a resolve of the demo reads, by name: stack.yaml,
// upstreams.yaml, what the stack names beside itself, cosign.pub, which is
// SigningKey, and workload.yaml when there is a workload.
func (u *Upstream) Local() map[string][]byte {
	files := map[string][]byte{
		"stack.yaml":     u.StackYAML(),
		"upstreams.yaml": u.UpstreamsYAML(),
		"web.yaml":       []byte(webValues),
		"extra.yaml":     []byte(extraManifest),
		"cosign.pub":     SigningKey(),
	}
	if u.workload != nil {
		files["workload.yaml"] = u.workload.StackYAML(1)
		files["workload-2.yaml"] = u.workload.StackYAML(2)
	}
	return files
}

// WriteDir writes the files of Local into an existing folder.
func (u *Upstream) WriteDir(dir string) error {
	for name, data := range u.Local() {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("writing the demo's files: %w", err)
		}
	}
	return nil
}
