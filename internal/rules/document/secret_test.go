package document

import (
	"slices"
	"testing"
)

// TestSecretFaultsNameNoValue: an API server that refuses such a field quotes it.
func TestSecretFaultsNameNoValue(t *testing.T) {
	secret := map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"data": map[string]any{"a": "aHVudGVyMg==", "wrapped": "aHVu\ndGVyMg==\n", "b": "hunter2", "c": int64(7), "none": nil, "x\n": true},
		"stringData": map[string]any{
			"a": "hunter2", "d": []any{"hunter2"},
		},
	}
	var got []string
	for _, f := range SecretFaults(secret) {
		got = append(got, f.String())
	}
	want := []string{"data.b is not base64", "data.c is not text", "data is not text", "stringData.d is not text"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	secret["stringData"] = "hunter2"
	delete(secret, "data")
	if got := SecretFaults(secret); len(got) != 1 || got[0].String() != "stringData is not a mapping" {
		t.Errorf("%q", got)
	}
	if !IsSecret(secret) || IsSecret(map[string]any{"apiVersion": "acme.dev/v1", "kind": "Secret"}) {
		t.Error("which objects are Secrets")
	}
}
