package document

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// siteTexts are the sites of a kind in an object, as NAME=VALUE or TEXT, and lines.
func siteTexts(t *testing.T, source string, what What) (out []string) {
	t.Helper()
	sites, err := Read([]Document{{Template: "t.yaml", Line: 1, Source: source}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		if s.What == what {
			out = append(out, strings.TrimPrefix(strings.TrimPrefix(s.Group+"/"+s.Name, "/")+"="+s.Text, "=")+fmt.Sprintf(" %d", s.Line))
		}
	}
	return out
}

func TestSettings(t *testing.T) {
	for name, test := range map[string]struct {
		source string
		want   []string
	}{
		"variable": {"kind: Pod\nspec:\n  containers:\n  - image: x\n    env:\n    - {name: VERSION_CHECK, value: \"true\"}\n    - {name: OTHER, value: \"true\"}\n",
			[]string{"VERSION_CHECK=true 6"}},
		"flags": {"kind: Pod\nspec:\n  containers:\n  - image: x\n    args:\n    - --global.checknewversion\n    - --send-telemetry=false\n    - --usage-stats\n    - \"on\"\n    - --port=80\n",
			[]string{"global.checknewversion=true 6", "send-telemetry=false 7", "usage-stats=on 8"}},
		"field":       {"kind: Widget\nspec:\n  checkForUpdates: true\n  image: x/y:1\n", []string{"spec/checkForUpdates=true 3"}},
		"key of data": {"kind: ConfigMap\ndata:\n  ENABLE_TELEMETRY: \"1\"\n", []string{"data/ENABLE_TELEMETRY=1 3"}},
		"lines of a file": {"kind: ConfigMap\ndata:\n  grafana.ini: |\n    [analytics]\n    check_for_updates = true ; daily\n    # reporting_enabled = true\n    [log]\n    mode = console\n",
			[]string{"analytics/check_for_updates=true 5"}},
		"document in a file": {"kind: ConfigMap\ndata:\n  loki.yaml: |\n    analytics:\n      reporting_enabled: true\n", []string{"analytics/reporting_enabled=true 5"}},
		"definition":         {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {checkForUpdates: true}\n", nil},
	} {
		if got := siteTexts(t, test.source, Setting); !slices.Equal(got, test.want) {
			t.Errorf("%s: found %q, want %q", name, got, test.want)
		}
	}
}

func TestHubAddresses(t *testing.T) {
	source := "kind: Runtime\nspec:\n  uris: [\"hf://acme/data/part\"]\n  prefix: hf://\n  containers:\n  - image: x\n" +
		"    env: [{name: STORAGE_URI, value: \"hf://acme/base\"}]\n    args: [--model=hf://acme/tuned, \"see hf://acme/x\"]\n" +
		"---\nkind: ConfigMap\ndata:\n  list: |\n    - uri: hf://acme/listed\n"
	want := []string{"hf://acme/data/part 3", "hf://acme/base 7", "hf://acme/tuned 8"}
	if got := siteTexts(t, source, HubAddress); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// TestModelAddresses: a model that a registry has as an image is content like an image,
// where something says that it is a model.
func TestModelAddresses(t *testing.T) {
	source := "kind: InferenceService\nspec:\n  predictor:\n    model:\n      storageUri: oci://ghcr.io/acme/car:1\n    storageUris:\n" +
		"    - {uri: \"oci+native://ghcr.io/acme/native:1\"}\n    - {uri: \"hf://acme/a\"}\n" +
		"---\nkind: LLMInferenceService\nspec: {model: {uri: \"oci://ghcr.io/acme/llm:1\"}}\n" +
		"---\nkind: OCIRepository\nspec: {uri: \"oci://ghcr.io/acme/chart:1\", url: \"oci://ghcr.io/acme/chart:1\"}\n" +
		"---\nkind: X\nspec: {storageUri: ghcr.io/acme/other:1, uris: [\"oci://ghcr.io/acme/other:1\"]}\n"
	sites, err := Read([]Document{{Template: "t.yaml", Line: 1, Source: source}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range Images(sites) {
		got = append(got, fmt.Sprint(s.Ref, " ", s.Line, " ", s.Kept))
	}
	want := []string{"ghcr.io/acme/car:1 5 false", "ghcr.io/acme/native:1 7 false", "ghcr.io/acme/llm:1 11 false"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	object := map[string]any{"kind": "InferenceService", "spec": map[string]any{"storageUri": "oci+native://ghcr.io/acme/car:1"}}
	rewrite(t, object, func(ref string) (string, bool) { return "site.example/" + ref, true })
	if got := object["spec"].(map[string]any)["storageUri"]; got != "oci+native://site.example/ghcr.io/acme/car:1" {
		t.Errorf("rewritten: %v", got)
	}
}

func TestWithoutTests(t *testing.T) {
	pod := func(annotations string) Document {
		return Document{Template: "t.yaml", Source: "kind: Pod\nmetadata: {annotations: {" + annotations + "}}\nspec: {containers: [{image: x}]}\n"}
	}
	test, both, hook, none := pod(`"helm.sh/hook": test`), pod(`"helm.sh/hook": "test,post-install"`), pod(`helm.sh/hook: post-install`), pod("a: b")
	old := pod(`"helm.sh/hook": test-success, "helm.sh/hook-delete-policy": before-hook-creation`)
	all := []Document{test, both, old, hook, none}
	if got := WithoutTests(all); !slices.Equal(got, []Document{both, hook, none}) || len(all) != 5 || all[0] != test {
		t.Errorf("left %+v", got)
	}
}

// TestTurnedOff: what is turned off names no image.
func TestTurnedOff(t *testing.T) {
	for source, want := range map[string]int{
		"driver: {enabled: false, repository: nvcr.io/acme, image: driver, version: 1}\n":           0,
		"driver: {enabled: true, repository: nvcr.io/acme, image: driver, version: 1}\n":            1,
		"driver: {enabled: \"false\", manager: {repository: nvcr.io/acme, image: m, version: 1}}\n": 0,
		"driver: {disabled: true, image: nvcr.io/acme/m:1}\n":                                       0,
		"driver: {rdma: {enabled: false}, image: nvcr.io/acme/m:1}\n":                               1,
		"kind: ConfigMap\ndata:\n  enabled: \"false\"\n  image: nvcr.io/acme/m:1\n":                 1,
		"kind: ConfigMap\ndata:\n  x: |\n    enabled: false\n    image: nvcr.io/acme/m:1\n":         0,
	} {
		if got := foundIn(t, source); len(got) != want {
			t.Errorf("%s: found %q", source, got)
		}
	}
}

// TestUntaggedImages: a host and a path are an image where their name says so.
func TestUntaggedImages(t *testing.T) {
	for source, want := range map[string]string{
		"spec: {cacheImage: ghcr.io/acme/box}\n":                                          "ghcr.io/acme/box? 1 spec.cacheImage",
		"spec: {images: [ghcr.io/acme/box]}\n":                                            "ghcr.io/acme/box? 1 spec.images[0]",
		"spec: {cacheImage: registry.k8s.io/pause}\n":                                     "registry.k8s.io/pause? 1 spec.cacheImage",
		"kind: ConfigMap\ndata: {cacheImage: ghcr.io/acme/box}\n":                         "ghcr.io/acme/box? 2 data.cacheImage",
		"spec: {cacheImage: ghcr.io/acme/box, cacheImageTag: v2}\n":                       "ghcr.io/acme/box:v2+ 1 spec.cacheImage",
		"spec: {imageName: ghcr.io/acme/box, tag: v2}\n":                                  "ghcr.io/acme/box:v2+ 1 spec.imageName",
		"kind: ConfigMap\ndata:\n  conf: |\n    a: b\n    cacheImage: ghcr.io/acme/box\n": "ghcr.io/acme/box? 5 data.conf.cacheImage",
		"env: [{name: BOX_IMAGE, value: ghcr.io/acme/box}]\n":                             "ghcr.io/acme/box? 1 env[0].value",
		"env: [{name: BOX_IMAGE, value: ghcr.io/acme/box}, {name: BOX_TAG, value: v2}]\n": "ghcr.io/acme/box:v2+ 1 env[0].value",
		"containers: [{image: x, args: [--box-image=ghcr.io/acme/box]}]\n":                "x 1 containers[0].image\nghcr.io/acme/box? 1 containers[0].args[0]",
		"spec: {imageRepository: ghcr.io/acme/box}\n":                                     "",
		"spec: {imageRegistry: ghcr.io/acme}\n":                                           "",
		"spec: {imageResource: nvidia.com/gpu/shared}\n":                                  "",
		"spec: {imageType: acme.dev/image}\n":                                             "",
		"spec: {image_annotation: acme.dev/image/name}\n":                                 "",
		"spec: {logoImage: www.acme.dev/img/logo.png}\n":                                  "",
		"spec: {imageUrl: acme.dev/a/b}\n":                                                "",
		"spec: {imageNamespace: ghcr.io/acme}\n":                                          "",
		"spec: {cacheImage: nvidia.com/gpu}\n":                                            "",
		"spec: {cacheImage: /var/lib/box}\n":                                              "",
		"spec: {imagePullPolicy: IfNotPresent, other: ghcr.io/acme/box}\n":                "",
	} {
		got := strings.Split(strings.Join(foundIn(t, source), "\n"), "\n")
		slices.Sort(got)
		wanted := strings.Split(want, "\n")
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%s: found %q, want %q", source, got, wanted)
		}
	}
}

// TestImagesWithinTexts: references among other words of a variable or a command,
// in lines of templates, and names whose registry and tag stand above them.
func TestImagesWithinTexts(t *testing.T) {
	for source, want := range map[string]string{
		"env:\n- name: KAFKA_IMAGES\n  value: |\n    4.1=quay.io/acme/kafka:4.1\n    4.2=quay.io/acme/kafka:4.2\n":                                                                               "quay.io/acme/kafka:4.1? 4 env[0].value\nquay.io/acme/kafka:4.2? 5 env[0].value",
		"env: [{name: IMAGES, value: \"a=quay.io/acme/a:1,b=quay.io/acme/b:2\"}]\n":                                                                                                              "quay.io/acme/a:1? 1 env[0].value\nquay.io/acme/b:2? 1 env[0].value",
		"containers:\n- image: x\n  command: [sh, -c, \"crane copy quay.io/acme/a:1 /x\"]\n":                                                                                                     "x 2 containers[0].image\nquay.io/acme/a:1? 3 containers[0].command[2]",
		"env: [{name: NOTE, value: \"see quay.io/acme/a:1 for more\"}]\n":                                                                                                                        "",
		"kind: ConfigMap\ndata:\n  template: |\n    {{ if .X }}\n    image: box:1.28\n    initImage: \"acme/box:2\"\n    image: \"{{ .Image }}\"\n    port: host:80\n    {{ end }}\n":            "box:1.28? 5 data.template\nacme/box:2? 6 data.template",
		"kind: ConfigMap\ndata:\n  values: |\n    {\"global\": {\"hub\": \"docker.io/mesh\", \"tag\": \"1.30\",\n    \"proxy\": {\"image\": \"proxyv2\"}}, \"other\": {\"image\": \"pilot\"}}\n": "docker.io/mesh/proxyv2:1.30+ 5 data.values.global.proxy.image",
	} {
		if got := strings.Join(foundIn(t, source), "\n"); got != want {
			t.Errorf("%s: found\n%s\nwant\n%s", source, got, want)
		}
	}
}

// TestImagesWithinTextsAreWritten: each keeps its place in the text.
func TestImagesWithinTextsAreWritten(t *testing.T) {
	value := map[string]any{"name": "BOX_IMAGES", "value": "a=quay.io/acme/a:1,b=quay.io/acme/b:2,c=quay.io/acme/a:1"}
	object, err := ReadObject(map[string]any{"spec": map[string]any{"env": []any{value}}})
	if err != nil {
		t.Fatal(err)
	}
	object.Rewrite(func(s Site) (string, bool) { return "site/" + s.Ref[len("quay.io/acme/"):], true })
	if got, want := value["value"], "a=site/a:1,b=site/b:2,c=site/a:1"; got != want {
		t.Errorf("written %q, want %q", got, want)
	}
}
