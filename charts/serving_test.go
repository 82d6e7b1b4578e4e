package charts_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// servingValues are those for one model at a site.
func servingValues(gpus []any, model, said map[string]any) map[string]any {
	values := map[string]any{"site": map[string]any{
		"gpus": orEmpty(gpus), "models": []any{model}, "kubernetes": map[string]any{"imageVolumes": true},
	}}
	if said != nil {
		entry := maps.Clone(said)
		entry["name"] = model["name"]
		values["models"] = []any{entry}
	}
	return values
}

func TestServing(t *testing.T) {
	for _, want := range servingTable {
		t.Run(want.name, func(t *testing.T) {
			values := servingValues(want.gpus, want.model, want.values)
			maps.Copy(values, want.more)
			files, err := render(t, "model-serving", "trial", values, kubernetes[0])
			if want.refused != nil {
				for _, words := range want.refused {
					if err == nil || !strings.Contains(err.Error(), words) {
						t.Fatalf("it should say %q: %v", words, err)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			comparePlace(t, want, onlyService(t, objectsOf(t, files)))
		})
	}
}

func onlyService(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, u := range objects {
		if u.GetKind() == "InferenceService" {
			found = append(found, nested(u.Object, "spec", "predictor").(map[string]any))
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d InferenceServices", len(found))
	}
	return found[0]
}

func comparePlace(t *testing.T, want expectedServing, predictor map[string]any) {
	t.Helper()
	if got := nested(predictor, "model", "runtime"); got != want.runtime {
		t.Errorf("it runs with %v", got)
	}
	limits := map[string]string{}
	all, _ := nested(predictor, "model", "resources", "limits").(map[string]any)
	for name, quantity := range all {
		if strings.Contains(name, "/") {
			limits[name], _ = quantity.(string)
		}
	}
	if !maps.Equal(limits, want.limits) {
		t.Errorf("it asks for %v", limits)
	}
	labels := map[string]string{}
	selector, _ := predictor["nodeSelector"].(map[string]any)
	for k, v := range selector {
		labels[k], _ = v.(string)
	}
	if !maps.Equal(labels, want.labels) {
		t.Errorf("it runs on %v", labels)
	}
	args := argsOf(predictor)
	for _, arg := range want.args {
		if !slices.Contains(args, arg) {
			t.Errorf("%s is not among %q", arg, args)
		}
	}
}

func argsOf(predictor map[string]any) (out []string) {
	list, _ := nested(predictor, "model", "args").([]any)
	for _, a := range list {
		out = append(out, a.(string))
	}
	return out
}

// TestGPUsAreTakenOnce: models that are served together do not get the same GPU.
func TestGPUsAreTakenOnce(t *testing.T) {
	two := maps.Clone(h100)
	two["count"], two["nodes"], two["perNode"] = 1, 1, 1
	other := model("other", 15, 131072, 32768)
	files, err := render(t, "model-serving", "trial", map[string]any{"site": map[string]any{
		"gpus": []any{two, mi300x}, "models": []any{seven, other}, "kubernetes": map[string]any{"imageVolumes": true},
	}}, kubernetes[0])
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, u := range objectsOf(t, files) {
		if u.GetKind() == "InferenceService" {
			got[u.GetName()] = nested(u.Object, "spec", "predictor", "model", "runtime")
		}
	}
	if got["seven"] != "caisson-vllm-nvidia" || got["other"] != "caisson-vllm-amd" {
		t.Errorf("%v", got)
	}
}

// runtimeContainers are the containers of the runtimes, by runtime.
func runtimeContainers(t *testing.T, objects []*unstructured.Unstructured) map[string]corev1.Container {
	t.Helper()
	out := map[string]corev1.Container{}
	for _, u := range objects {
		if u.GetKind() == "ClusterServingRuntime" {
			list := nested(u.Object, "spec", "containers").([]any)
			out[u.GetName()] = decode[corev1.Container](t, list[0])
		}
	}
	return out
}

func valueOf(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// TestServersAskNobody: a server whose weights are in its pod looks for nothing outside
// and tells nobody of itself.
func TestServersAskNobody(t *testing.T) {
	want := map[string]string{
		"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_XET": "1",
		"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1",
	}
	runtimes := runtimeContainers(t, mustRender(t, "model-serving", nil))
	if len(runtimes) != 3 {
		t.Errorf("%d runtimes", len(runtimes))
	}
	for name, c := range runtimes {
		for variable, value := range want {
			if got := valueOf(c, variable); got != value {
				t.Errorf("%s: %s is %q", name, variable, got)
			}
		}
	}
}

// TestServersWriteOnlyToTheirCache: whatever they keep lies in a volume of the pod, for
// their user may write nowhere else.
func TestServersWriteOnlyToTheirCache(t *testing.T) {
	places := []string{
		"HOME", "HF_HOME", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
	}
	for name, c := range runtimeContainers(t, mustRender(t, "model-serving", nil)) {
		for _, variable := range places {
			if got := valueOf(c, variable); got != "/cache" && !strings.HasPrefix(got, "/cache/") {
				t.Errorf("%s: %s is %q", name, variable, got)
			}
		}
		var mounted []string
		for _, m := range c.VolumeMounts {
			if !m.ReadOnly {
				mounted = append(mounted, m.MountPath)
			}
		}
		if !slices.Contains(mounted, "/cache") || !slices.Contains(mounted, "/dev/shm") {
			t.Errorf("%s mounts %v", name, c.VolumeMounts)
		}
	}
}

// TestFlashInferUsesWhatTheImageHas: kernels that the image brings must not be hidden by
// an empty directory, from where FlashInfer would download them; what it compiles goes to
// the cache; and nobody asks whether NVIDIA's store answers.
func TestFlashInferUsesWhatTheImageHas(t *testing.T) {
	c := runtimeContainers(t, mustRender(t, "model-serving", nil))["caisson-vllm-nvidia"]
	if valueOf(c, "FLASHINFER_WORKSPACE_BASE") != "/cache" || valueOf(c, "VLLM_HAS_FLASHINFER_CUBIN") != "1" {
		t.Errorf("%v", c.Env)
	}
	if dir := valueOf(c, "FLASHINFER_CUBIN_DIR"); dir != "" {
		t.Errorf("cubins are looked for in %s", dir)
	}
}

// TestRuntimesKeepTheirImages: KServe changes the image of a runtime whose name or
// annotation it knows.
func TestRuntimesKeepTheirImages(t *testing.T) {
	known := []string{"kserve-vllmserver", "kserve-huggingfaceserver", "kserve-tensorflow-serving", "kserve-torchserve"}
	for _, u := range mustRender(t, "model-serving", nil) {
		if u.GetKind() != "ClusterServingRuntime" {
			continue
		}
		if slices.Contains(known, u.GetName()) || u.GetAnnotations()["serving.kserve.io/server-type"] != "" {
			t.Errorf("KServe knows the runtime %s", u.GetName())
		}
	}
}

// TestServersMayStartSlowly: a large model takes many minutes to load.
func TestServersMayStartSlowly(t *testing.T) {
	for name, c := range runtimeContainers(t, mustRender(t, "model-serving", map[string]any{"startMinutes": 90})) {
		if p := c.StartupProbe; p == nil || p.PeriodSeconds*p.FailureThreshold != 90*60 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestFormsOfModels(t *testing.T) {
	const at = "huggingface.co/org/tiny:0123456789012345678901234567890123456789"
	for name, c := range map[string]struct {
		site, values map[string]any
		uri          string
		refused      string
	}{
		"image volumes": {
			site: map[string]any{"kubernetes": map[string]any{"imageVolumes": true}, "hub": "http://hub:1"},
			uri:  "oci+native://" + at,
		},
		"a shell in the image": {
			site:   map[string]any{"hub": "http://hub:1"},
			values: map[string]any{"modelImagesHaveShell": true}, uri: "oci://" + at,
		},
		"a hub": {
			site: map[string]any{"hub": "http://hub:1"}, uri: "hf://org/tiny:0123456789012345678901234567890123456789",
		},
		"a hub, as wanted": {
			site:   map[string]any{"kubernetes": map[string]any{"imageVolumes": true}, "hub": "http://hub:1"},
			values: map[string]any{"modelForm": "hub"}, uri: "hf://org/tiny:0123456789012345678901234567890123456789",
		},
		"nothing": {
			refused: "Start one with caisson serve PATH --key KEY --listen ADDRESS:8080 and write hub: http://ADDRESS:8080 into the site file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			values := map[string]any{"models": []any{map[string]any{"name": "tiny", "gpu": "none"}}}
			maps.Copy(values, c.values)
			site := map[string]any{"models": []any{tiny}}
			maps.Copy(site, c.site)
			values["site"] = site
			files, err := render(t, "model-serving", "trial", values, kubernetes[0])
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			predictor := onlyService(t, objectsOf(t, files))
			uris, _ := predictor["storageUris"].([]any)
			if len(uris) != 1 || uris[0].(map[string]any)["uri"] != c.uri {
				t.Errorf("it comes from %v", uris)
			}
			if named := predictor["storageContainerName"] == "caisson-hub"; named != strings.HasPrefix(c.uri, "hf://") {
				t.Errorf("downloaded by %v", predictor["storageContainerName"])
			}
		})
	}
}

// TestDownloadsComeFromTheHub: the container that downloads asks the site's hub, and
// nobody where there is none.
func TestDownloadsComeFromTheHub(t *testing.T) {
	for hub, offline := range map[string]string{"": "1", "https://hub.example": ""} {
		for _, u := range mustRender(t, "model-serving", map[string]any{"site": map[string]any{"hub": hub}}) {
			if u.GetKind() != "ClusterStorageContainer" {
				continue
			}
			c := decode[corev1.Container](t, nested(u.Object, "spec", "container"))
			if valueOf(c, "HF_ENDPOINT") != hub || valueOf(c, "HF_HUB_OFFLINE") != offline {
				t.Errorf("hub %q: %v", hub, c.Env)
			}
			if valueOf(c, "HF_HUB_DISABLE_XET") != "1" || valueOf(c, "HF_HUB_DISABLE_TELEMETRY") != "1" {
				t.Errorf("%v", c.Env)
			}
		}
	}
}

func TestCodeOfAModelRunsOnlyWithAReason(t *testing.T) {
	const flag = "--trust-remote-code"
	said := map[string]any{"trustRemoteCode": map[string]any{"reason": "its attention is in Python files"}}
	for _, values := range []map[string]any{nil, said} {
		objects := mustRender(t, "model-serving", servingValues(manyKinds, tiny, values))
		if args := argsOf(onlyService(t, objects)); slices.Contains(args, flag) != (values != nil) {
			t.Errorf("values %v: %q", values, args)
		}
	}
	for _, bad := range []any{true, map[string]any{}, map[string]any{"reason": ""}} {
		values := servingValues(manyKinds, tiny, map[string]any{"trustRemoteCode": bad})
		if _, err := render(t, "model-serving", "trial", values, kubernetes[0]); err == nil {
			t.Errorf("%v is taken for a reason", bad)
		}
	}
}

// TestDraftModels: a draft model comes the same way, and its weights count.
func TestDraftModels(t *testing.T) {
	values := map[string]any{
		"site": map[string]any{
			"gpus": manyKinds, "models": []any{tiny, seven}, "kubernetes": map[string]any{"imageVolumes": true},
		},
		"models": []any{map[string]any{"name": "seven", "draft": "tiny", "draftTokens": 3, "tiktoken": "/mnt/models/tiktoken"}},
	}
	predictor := onlyService(t, mustRender(t, "model-serving", values))
	uris, _ := predictor["storageUris"].([]any)
	if len(uris) != 2 || nested(predictor, "model", "storageUri") != nil {
		t.Fatalf("%v", predictor)
	}
	draft := uris[1].(map[string]any)
	if uri := draft["uri"].(string); draft["mountPath"] != "/mnt/draft/model" || !strings.Contains(uri, "/org/tiny:") {
		t.Errorf("%v", draft)
	}
	const config = `--speculative-config={"model":"/mnt/draft/model","num_speculative_tokens":3}`
	if args := argsOf(predictor); !slices.Contains(args, config) {
		t.Errorf("%q", args)
	}
	env, _ := nested(predictor, "model", "env").([]any)
	if len(env) != 1 || env[0].(map[string]any)["name"] != "TIKTOKEN_ENCODINGS_BASE" {
		t.Errorf("%v", env)
	}
	tight := maps.Clone(h100)
	tight["memoryGiB"] = 24 // enough for one of the two, not for both
	values["site"].(map[string]any)["gpus"] = []any{tight}
	values["models"].([]any)[0].(map[string]any)["attentionHeads"] = 7
	if _, err := render(t, "model-serving", "trial", values, kubernetes[0]); err == nil {
		t.Error("the draft model's weights do not count")
	}
}

// TestTrainingAsksOnlyTheHub: jobs look for models at the site's hub; without one they
// look nowhere. pip fails at once where there is no mirror.
func TestTrainingAsksOnlyTheHub(t *testing.T) {
	for hub, want := range map[string]map[string]string{
		"":                        {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_ENDPOINT": "", "PIP_NO_INDEX": "1"},
		"http://hub.example:8080": {"HF_HUB_OFFLINE": "", "HF_ENDPOINT": "http://hub.example:8080", "PIP_NO_INDEX": "1"},
	} {
		objects := mustRender(t, "training-runtimes", map[string]any{
			"site": map[string]any{"hub": hub}, "torchtune": map[string]any{"enabled": true},
			"runtimes": map[string]any{"jax": map[string]any{"enabled": true}, "deepspeed": map[string]any{"enabled": true}},
		})
		seen := 0
		for _, p := range podsOf(t, objects) {
			for _, c := range p.Spec.Containers {
				seen++
				compareEnv(t, p.owner+"/"+c.Name, c, want)
				compareEnv(t, p.owner+"/"+c.Name, c, map[string]string{
					"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
					"WANDB_MODE": "offline", "HF_HOME": "/cache/huggingface",
				})
			}
		}
		if seen != 7 {
			t.Errorf("%d containers", seen)
		}
	}
}

func compareEnv(t *testing.T, of string, c corev1.Container, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := valueOf(c, name); got != value {
			t.Errorf("%s: %s is %q, not %q", of, name, got, value)
		}
	}
}

// TestTrainingNeedsNoInstaller: nothing of the chart is a hook or runs by itself.
func TestTrainingNeedsNoInstaller(t *testing.T) {
	for _, u := range mustRender(t, "training-runtimes", nil) {
		if u.GetKind() != "ClusterTrainingRuntime" || u.GetAnnotations()["helm.sh/hook"] != "" {
			t.Errorf("%s %s", u.GetKind(), u.GetName())
		}
	}
}

// TestModelsWithNamesThatKServeRefuses: they stop the chart only where they are served.
func TestModelsWithNamesThatKServeRefuses(t *testing.T) {
	named := maps.Clone(tiny)
	named["name"] = "7b.chat"
	_, err := render(t, "model-serving", "trial", servingValues(manyKinds, named, nil), kubernetes[0])
	if err == nil || !strings.Contains(err.Error(), "7b.chat") || !strings.Contains(err.Error(), "serve: false") {
		t.Error(err)
	}
	left := servingValues(manyKinds, named, map[string]any{"serve": false})
	if _, err := render(t, "model-serving", "trial", left, kubernetes[0]); err != nil {
		t.Error(err)
	}
}

func TestSmallModelsAreServedOnCPUAnyway(t *testing.T) {
	values := servingValues(nil, tiny, nil)
	values["sizing"] = map[string]any{"cpuAnywayGiB": 2}
	files, err := render(t, "model-serving", "trial", values, kubernetes[0])
	if err != nil || !strings.Contains(files["model-serving/templates/services.yaml"]+files["templates/services.yaml"], "runtime: caisson-vllm-cpu") {
		t.Errorf("a model of 1 GiB: %v", err)
	}
	values = servingValues(nil, seven, nil)
	values["sizing"] = map[string]any{"cpuAnywayGiB": 2}
	if _, err := render(t, "model-serving", "trial", values, kubernetes[0]); err == nil || !strings.Contains(err.Error(), "cpu: true") {
		t.Errorf("a model of 15 GiB: %v", err)
	}
}
