package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func dg(s string) digest.Digest { return digest.FromString(s) }

func sample() *Ledger {
	g := &Ledger{
		APIVersion: APIVersion, Kind: Kind, Name: "demo", Version: "1.0.0",
		Created: "2023-11-14T22:13:20Z", Index: dg("index"), Lock: dg("lock"),
	}
	g.Append(
		Check{Item: "ghcr.io/acme/web:1", What: "layer", Rule: "sha256 and size in the lock", Digest: dg("layer"), Size: 3, Result: Passed},
		Check{Item: "ghcr.io/acme/web:1", What: Signatures, Rule: NoPolicy, Result: NotChecked, Note: "2 carried & <kept>"},
		Check{
			Item: "ghcr.io/acme/api:1", What: Signatures, Rule: "release", Authority: "acme", Identity: "ci@acme.example",
			Evidence: dg("signature"), Digest: dg("api"), Time: "2023-11-14T22:13:20Z", Result: Failed,
		},
	)
	return g
}

func marshal(t *testing.T, g *Ledger) string {
	t.Helper()
	text, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestText holds the text against the file that earlier versions wrote: ledgers
// are named by digest in signed statements.
func TestText(t *testing.T) {
	g := sample()
	g.Checks = g.Checks[:2]
	want, err := os.ReadFile(filepath.Join("testdata", "plain.ledger.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := marshal(t, g); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMarshalAndParseAreInverse(t *testing.T) {
	g := sample()
	text := marshal(t, g)
	parsed, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, parsed) {
		t.Errorf("parsed %+v", parsed)
	}
	if n := parsed.Count(); n[Passed] != 1 || n[NotChecked] != 1 || n[Failed] != 1 {
		t.Errorf("counted %v", n)
	}
}

func TestParseRefuses(t *testing.T) {
	good := marshal(t, sample())
	for _, tc := range []struct{ name, old, new, want string }{
		{"unknown result", `"result": "failed"`, `"result": "fine"`, "is not passed, failed or not-checked"},
		{"no item", `"item": "ghcr.io/acme/api:1"`, `"item": ""`, "check 2: item: is missing"},
		{"no rule", `"rule": "release"`, `"rule": ""`, "rule: is missing"},
		{"control character", `"authority": "acme"`, `"authority": "a\u0007"`, "control characters"},
		{"long text", `"authority": "acme"`, `"authority": "` + strings.Repeat("a", maxText+1) + `"`, "longer than"},
		{"other digest", string(dg("signature")), "sha512:00", "is not sha256"},
		{"no lock", `"lock": "` + string(dg("lock")) + `"`, `"lock": ""`, "lock: "},
		{"negative size", `"size": 3`, `"size": -3`, "not a number of bytes"},
		{"time with a zone", `"time": "2023-11-14T22:13:20Z"`, `"time": "2023-11-14T22:13:20+01:00"`, "not a time in UTC"},
		{"no time", `"created": "2023-11-14T22:13:20Z"`, `"created": "soon"`, "not a time in UTC"},
		{"other kind", `"kind": "Ledger"`, `"kind": "Lock"`, "not Ledger of"},
		{"second document", "]\n}\n", "]\n}\n{}", "something follows"},
		{"cut", "]\n}\n", "", "unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := strings.Replace(good, tc.old, tc.new, 1)
			if bad == good {
				t.Fatalf("%q is not in the sample", tc.old)
			}
			if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not say %q", err, tc.want)
			}
		})
	}
	if _, err := Parse(bytes.Repeat([]byte(" "), MaxBytes+1)); err == nil {
		t.Error("a text that is too large was read")
	}
}

// TestParseLeavesOutFieldsOfANewerCaisson: the site may be older than the
// connected side.
func TestParseLeavesOutFieldsOfANewerCaisson(t *testing.T) {
	text := marshal(t, sample())
	newer := strings.Replace(text, `"result": "failed"`, `"result": "failed", "skipped": {"by": ["a"]}`, 1)
	newer = strings.Replace(newer, `"kind": "Ledger"`, `"kind": "Ledger", "stage": 2`, 1)
	if newer == text {
		t.Fatal("the sample holds no place for a field")
	}
	g, err := Parse([]byte(newer))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, sample()) {
		t.Errorf("parsed %+v", g)
	}
}

func TestMarshalRefusesWhatParseWould(t *testing.T) {
	g := sample()
	g.Checks[0].Result = ""
	if _, err := g.Marshal(); err == nil {
		t.Error("a check without a result was written")
	}
}

func FuzzParse(f *testing.F) {
	text, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"apiVersion":"caisson.dev/v1alpha1","kind":"Ledger","checks":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Parse(data)
		if err != nil {
			return
		}
		first, err := g.Marshal()
		if err != nil {
			t.Fatalf("marshalling what was parsed: %v", err)
		}
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("parsing what was marshalled: %v\n%s", err, first)
		}
		if !reflect.DeepEqual(g, again) {
			t.Fatalf("parse∘marshal is not identity:\n%#v\n%#v", g, again)
		}
	})
}
