package document

import (
	"fmt"
	"strings"
	"testing"
)

const hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func foundIn(tb testing.TB, source string) []string {
	tb.Helper()
	docs, err := Split("t.yaml", source)
	if err != nil {
		tb.Fatal(err)
	}
	sites, err := Read(docs)
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, f := range Images(sites) {
		mark := map[Certainty]string{Joined: "+", Likely: "?"}[f.Certainty]
		out = append(out, fmt.Sprintf("%s%s %d %s", f.Ref, mark, f.Line, f.Path))
	}
	return out
}

func TestImages(t *testing.T) {
	tests := map[string]struct {
		source string
		want   []string
	}{
		"pod lists": {`kind: Deployment
spec:
  template:
    spec:
      initContainers:
      - {name: a, image: busybox}
      containers:
      - name: b
        image: "ghcr.io/acme/web:1.2.3"
      - name: empty
        image: ""
      ephemeralContainers: [{image: "quay.io/x/y@` + hash + `"}]
      volumes:
      - {name: m, image: {reference: quay.io/acme/model:1, pullPolicy: Always}}
`, []string{"busybox 6 spec.template.spec.initContainers[0].image", "ghcr.io/acme/web:1.2.3 9 spec.template.spec.containers[0].image",
			"quay.io/x/y@" + hash + " 12 spec.template.spec.ephemeralContainers[0].image", "quay.io/acme/model:1 14 spec.template.spec.volumes[0].image.reference"}},
		"cron job":        {"kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{image: a/b:1}]}}}}}\n", []string{"a/b:1 2 spec.jobTemplate.spec.template.spec.containers[0].image"}},
		"second document": {"a: 1\n---\n# c\nkind: Pod\nspec:\n  containers:\n  - image: x/y:2\n", []string{"x/y:2 7 spec.containers[0].image"}},
		"list":            {"kind: List\nitems:\n- kind: Pod\n  spec: {containers: [{image: x/y:2}]}\n", []string{"x/y:2 4 items[0].spec.containers[0].image"}},
		"custom resource": {"kind: Prometheus\nspec:\n  image: quay.io/prometheus/prometheus:v3\n  thanos: {image: thanos}\n", []string{"quay.io/prometheus/prometheus:v3 3 spec.image", "thanos? 4 spec.thanos.image"}},
		"split reference": {"kind: ClusterPolicy\nspec:\n  driver: {repository: nvcr.io/nvidia, image: driver, version: \"580.1\"}\n  other: {repository: nvcr.io/nvidia, image: other, version: \"" + hash + "\"}\n  open: {repository: nvcr.io/nvidia, image: open}\n",
			[]string{"nvcr.io/nvidia/driver:580.1+ 3 spec.driver.image", "nvcr.io/nvidia/other@" + hash + "+ 4 spec.other.image", "nvcr.io/nvidia/open? 5 spec.open.image"}},
		"arguments and environment": {"kind: Pod\nspec:\n  containers:\n  - image: a/b:1\n    args: [--solver=quay.io/jetstack/solver:v1, --executor, \"gcr.io/x/executor:2\", --url=http://a.example/x:80, --replicas=1]\n    env: [{name: RELATED_IMAGE, value: \"ghcr.io/x/y:1\"}, {name: HOST, value: \"a.example:80\"}, {name: T, value: app.kubernetes.io/name}]\n",
			[]string{"a/b:1 4 spec.containers[0].image", "gcr.io/x/executor:2? 5 spec.containers[0].args[2]", "quay.io/jetstack/solver:v1? 5 spec.containers[0].args[0]", "ghcr.io/x/y:1? 6 spec.containers[0].env[0].value"}},
		"names that say so": {"kind: Pod\nspec:\n  containers:\n  - image: a/b:1\n    args: [--worker-image=kserve/w:1, --executor-image, x/executor:2, --image-pull-policy, IfNotPresent, --image-registry=reg:5000]\n    env: [{name: OPERATOR_IMAGE_NAME, value: \"mysql:8.4\"}, {name: IMAGE_REGISTRY, value: \"reg.local:5000\"}, {name: NAME, value: \"mysql:8.4\"}, {name: IMAGE, value: \"reg.local:5000\"}]\n",
			[]string{"a/b:1 4 spec.containers[0].image", "kserve/w:1? 5 spec.containers[0].args[0]", "x/executor:2? 5 spec.containers[0].args[2]", "mysql:8.4? 6 spec.containers[0].env[0].value"}},
		"documents in strings": {"kind: ConfigMap\ndata:\n  agent: |-\n    {\n      \"image\": \"kserve/agent:v1\",\n      \"cpu\": \"1\"\n    }\n  art: '{\"image\": \"kserve/art\", \"defaultImageVersion\": \"latest\"}'\n  katib.yaml: |\n    # image: docker.io/x/comment:1\n    runtime:\n      suggestions:\n      - algorithmName: random\n        image: docker.io/kubeflow/random:1\n  tpl: |\n    {{ if .X }}\n    image: \"gcr.io/istio/proxy:1\"\n    {{ end }}\n  catalog: |\n    - uri: oci://quay.io/models/x:1\n  _example: |\n    {\"image\": \"kserve/x:latest\"}\n",
			[]string{"kserve/agent:v1? 5 data.agent.image", "kserve/art:latest+ 8 data.art.image", "docker.io/kubeflow/random:1? 14 data.katib.yaml.runtime.suggestions[0].image", "gcr.io/istio/proxy:1? 17 data.tpl"}},
		"repository and tag": {"kind: X\nspec:\n  a: {repository: ghcr.io/x/y, tag: v1}\n  b: {registry: ghcr.io, repository: x/z, tag: v1}\n  c: {repository: x/z, tag: v1}\n  d: {repository: \"https://github.com/x/y\", tag: v1}\n  e: {storageUri: \"quay.io/x/m:1\"}\n",
			[]string{"ghcr.io/x/y:v1? 3 spec.a.repository", "ghcr.io/x/z:v1? 4 spec.b.repository"}},
		"not references":                        {"a: {image: true}\nb: {image: 7}\nc: {image: {type: string}}\nd: {image: \"https://x.example/logo.png\"}\ne: {image: assets/logo.png}\nf: {image: \"Hello World\"}\ng: {image: [x]}\nh: {image: null}\n", nil},
		"custom resource definition":            {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec:\n  example: {image: \"ghcr.io/example/never:1\"}\n  versions:\n  - schema: {openAPIV3Schema: {properties: {image: {type: string, default: \"ghcr.io/x/y:1\", description: \"like docker.io/a/b:1\"}}}}\n", nil},
		"definition in a list":                  {"kind: List\nitems:\n- apiVersion: apiextensions.k8s.io/v1\n  kind: CustomResourceDefinition\n  spec: {image: \"a/b:1\"}\n- kind: Pod\n  spec: {containers: [{image: x}]}\n", []string{"x 7 items[1].spec.containers[0].image"}},
		"definition beside":                     {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nimage: a/b:1\n---\nkind: Pod\nspec: {containers: [{image: x}]}\n", []string{"x 6 spec.containers[0].image"}},
		"schema elsewhere":                      {"kind: Other\nopenAPIV3Schema: {image: a/b:1}\n", nil},
		"_example":                              {"kind: ConfigMap\ndata:\n  _example: |\n    image: kserve/x:latest\n  x: {_example: {image: \"kserve/x:latest\"}}\n", nil},
		"comment":                               {"kind: Pod\n# image: docker.io/myUserName/driverImage\nspec: {containers: [{image: x}]}\n", []string{"x 3 spec.containers[0].image"}},
		"anchors":                               {"kind: Pod\nx: &c {image: a/b:1}\nspec: {containers: [*c], y: *c}\n", []string{"a/b:1 2 x.image", "a/b:1 2 spec.containers[0].image", "a/b:1 2 spec.y.image"}},
		"malformed in a pod":                    {"kind: Pod\nspec: {containers: [{image: \"a b\"}]}\n", []string{"a b 2 spec.containers[0].image"}},
		"plain equals sign":                     {"kind: X\nenum: [=, \"!=\"]\nspec: {containers: [{image: x}]}\n", []string{"x 3 spec.containers[0].image"}},
		"tabs that only the other parser takes": {"kind: Pod\nspec: {containers: [{image: x}], \"a\": 1, \"a\": 2}\n", []string{"x 2 spec.containers[0].image"}},
	}
	for name, test := range tests {
		if got := foundIn(t, test.source); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s: found\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(test.want, "\n  "))
		}
	}
}

func TestImagesBounds(t *testing.T) {
	deep := strings.Repeat("{a: ", maxDepth+10) + "1" + strings.Repeat("}", maxDepth+10)
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for name, source := range map[string]string{"deep": deep, "aliases": bomb, "not YAML": "a: b: c\n", "itself": "a: &a [*a]\n"} {
		if _, err := Read([]Document{{Template: "t.yaml", Line: 1, Source: source}}); err == nil || !strings.Contains(err.Error(), "t.yaml line 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("kind: Pod\nspec: {containers: [{image: x}]}\n")
	f.Add("a: &a {image: {repository: x, tag: y}}\nb: [*a, *a]\n---\nkind: CustomResourceDefinition\n")
	f.Add("x: {repository: nvcr.io/nvidia, image: driver, version: 1}\n")
	f.Fuzz(func(t *testing.T, source string) {
		docs, err := Split("t", source)
		if err != nil {
			return
		}
		sites, err := Read(docs)
		if err != nil {
			return
		}
		lines := strings.Count(source, "\n") + 1
		for _, i := range sites {
			if i.Names() && i.Ref == "" || i.Template != "t" || i.Line < 0 || i.Line > lines {
				t.Errorf("found %+v in %d lines", i, lines)
			}
		}
	})
}
