package lock

import (
	"reflect"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/ledger"
)

// checked is the sample with two checks, out of order.
func checked() *Lock {
	l := sample()
	web := "ghcr.io/acme/web:1.2.3"
	l.Checks = []ledger.Check{
		{Item: web, What: ledger.Signatures, Rule: "release", Authority: "acme", Evidence: dg("signature"), Result: ledger.Passed},
		{Item: web, What: ledger.Signatures, Rule: "nightly", Identity: "ci@acme.example", Result: ledger.Failed, Note: "expired"},
	}
	return l
}

func TestChecksComeBack(t *testing.T) {
	l := checked()
	parsed, err := Parse(marshal(t, l))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(parsed.Checks, l.Checks) || l.Checks[0].Rule != "nightly" {
		t.Errorf("parsed %+v, want %+v", parsed.Checks, l.Checks)
	}
}

func TestParseRefusesChecks(t *testing.T) {
	good := string(marshal(t, checked()))
	for _, tc := range []struct{ old, new, want string }{
		{"result: failed", "result: fine", "is not passed, failed or not-checked"},
		{"  - item: ghcr.io/acme/web:1.2.3", "  - item: ghcr.io/acme/web:9", "is not an item of the lock"},
		{"rule: nightly", "rule: zebra", "is out of order"},
		{"rule: nightly", "rules: nightly", "unknown field"},
	} {
		bad := strings.Replace(good, tc.old, tc.new, 1)
		if bad == good {
			t.Fatalf("%q is not in the sample", tc.old)
		}
		if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v does not say %q", tc.new, err, tc.want)
		}
	}
}
