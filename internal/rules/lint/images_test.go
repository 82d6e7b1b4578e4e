package lint

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestMergeImages: an image that several places name is found once, and the list to
// paste has it once, but for names that an operator adds to.
func TestMergeImages(t *testing.T) {
	found := Images(nil, []document.Site{
		{Ref: "acme/web:1", Certainty: document.Likely, Template: "a.yaml", Line: 3, Path: "env"},
		{Ref: "docker.io/acme/web:1", Certainty: document.Likely, Template: "b.yaml", Line: 1, Path: "env"},
		{Ref: "acme/api", Certainty: document.Likely, Template: "a.yaml", Line: 1, Path: "env"},
		{Ref: "nvcr.io/nvidia/driver:595.91.07", Certainty: document.Joined, Template: "a.yaml", Line: 9, Path: "spec.driver"},
		{Ref: "nvcr.io/nvidia/fs:2.1", Certainty: document.Joined, Template: "a.yaml", Line: 10, Path: "spec.fs"},
	}, func(document.Site) bool { return false })
	merged, lacking := MergeImages(found)
	if len(merged) != 4 || merged[1].Others != 1 || strings.Join(lacking, " ") != "acme/api acme/web:1" {
		t.Errorf("merged %+v, lacking %q", merged, lacking)
	}
	if !strings.Contains(merged[2].Fix, "--nodes") || strings.Contains(merged[3].Fix, "--nodes") || strings.Contains(merged[3].Fix, "add it") {
		t.Errorf("advice: %q, %q", merged[2].Fix, merged[3].Fix)
	}
	if got := ImageList(lacking); got != "    images:\n      - acme/api\n      - acme/web:1\n" || merged[0].Code != event.CodeEgressImage {
		t.Errorf("list:\n%s", got)
	}
}

// TestAdviceOnModels: what is lacking of the hub is a model, not an image under another tag.
func TestAdviceOnModels(t *testing.T) {
	commit := strings.Repeat("c", 40)
	for ref, want := range map[string]string{
		"huggingface.co/acme/model:latest":    "models of the component: {name: model, source: hf://acme/model, revision: COMMIT}, and name it by that commit: huggingface.co/acme/model:COMMIT",
		"huggingface.co/acme/model:" + commit: "models of the component: {name: model, source: hf://acme/model, revision: " + commit + "}",
	} {
		found := Images(nil, []document.Site{{What: document.Image, Ref: ref, Certainty: document.Joined, Template: "a.yaml", Line: 1, Path: "storageUri"}},
			func(document.Site) bool { return false })
		if len(found) != 1 || found[0].Fix != "add it to "+want {
			t.Errorf("%s: %+v", ref, found)
		}
	}
}
