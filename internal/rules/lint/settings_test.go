package lint

import (
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestCallsHome: switches by which a program asks or tells its maker, and those that
// only look like it.
func TestCallsHome(t *testing.T) {
	for _, test := range []struct {
		group, name, value string
		found              bool
	}{
		{"analytics", "check_for_updates", "true", true},
		{"analytics", "check_for_plugin_updates", "true", true},
		{"", "GF_ANALYTICS_CHECK_FOR_UPDATES", "true", true},
		{"spec", "checkForUpdates", "true", true},
		{"", "VERSION_CHECK", "1", true},
		{"", "global.checknewversion", "true", true},
		{"", "global.sendanonymoususage", "true", true},
		{"data", "UPDATE_CHECK_ENABLED", "on", true},
		{"", "upgrade-checker", "true", true},
		{"", "DISABLE_VERSION_CHECK", "false", true},
		{"", "ACME_TELEMETRY_ENABLED", "yes", true},
		{"", "ENABLE_TELEMETRY", "1", true},
		{"", "HF_HUB_DISABLE_TELEMETRY", "0", true},
		{"analytics", "reporting_enabled", "true", true},
		{"usage_report", "reporting_enabled", "true", true},
		{"", "send-usage-stats", "true", true},

		{"analytics", "check_for_updates", "false", false},
		{"", "HF_HUB_DISABLE_TELEMETRY", "1", false},
		{"", "DO_NOT_TRACK", "1", false},
		{"", "VLLM_NO_USAGE_STATS", "1", false},
		{"", "telemetry-port", "8081", false},
		{"", "TELEMETRY_METRICS_ENABLED", "true", false},
		{"", "OPENTELEMETRY_ENABLED", "true", false},
		{"", "skip-version-check", "true", false},
		{"", "kubeVersionCheck", "true", false},
		{"", "upgrade-version-check", "true", false}, // from which version an upgrade may come
		{"", "schema_version_check", "true", false},
		{"", "enableReporting", "validate,mutate", false},
		{"policy", "reporting_enabled", "true", false},
		{"", "checksum/version", "true", false},
		{"", "PIP_DISABLE_PIP_VERSION_CHECK", "1", false},
	} {
		if what := calledHome(test.group, test.name, test.value); (what != "") != test.found {
			t.Errorf("%s %s = %s: %q", test.group, test.name, test.value, what)
		}
	}
}

// TestHubAddresses: what pods fetch from a hub is found, but for models that the
// bundle has.
func TestHubAddresses(t *testing.T) {
	source := "kind: Runtime\nspec:\n  template:\n    env:\n    - {name: STORAGE_URI, value: \"hf://Acme/Base/sub\"}\n    - {name: STORAGE_URI, value: \"gs://acme/data\"}\n" +
		"    - {name: STORAGE_URI, value: \"s3://acme/data\"}\n    - {name: BACKUP, value: \"gs://acme/data\"}\n    - {name: MODEL_URI, value: \"https://models.acme.com/a.tgz\"}\n"
	sites, err := document.Read([]document.Document{{Template: "t.yaml", Line: 1, Source: source, Manifest: true}})
	if err != nil {
		t.Fatal(err)
	}
	found := Check(sites)
	if len(found) != 3 || found[0].Code != event.CodeEgressRemote || found[0].Model != "acme/base" || found[1].Line != 6 || found[2].Line != 9 {
		t.Fatalf("%+v", found)
	}
	if left := WithoutModels(found, []string{"acme/base"}); len(left) != 2 || len(found) != 3 {
		t.Errorf("left %+v", left)
	}
	if found[1].Fix != "bring the content in the stack, or turn this off in the manifest" {
		t.Errorf("advice: %s", found[1].Fix)
	}
}
