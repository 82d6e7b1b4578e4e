package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestStatementMustAgree(t *testing.T) {
	f := newFixture("demo", 10, 5000)
	dir := t.TempDir()
	s := f.write(t, dir, WriterOptions{VolumeSize: mib})
	other := digest.FromString("other")
	for what, change := range map[string]func(*Statement){
		"subject":       func(s *Statement) { s.Subject[0].Digest["sha256"] = other.Encoded() },
		"no subject":    func(s *Statement) { s.Subject = nil },
		"two subjects":  func(s *Statement) { s.Subject = append(s.Subject, s.Subject[0]) },
		"type":          func(s *Statement) { s.Type = "https://in-toto.io/Statement/v0.1" },
		"predicate":     func(s *Statement) { s.PredicateType = "https://slsa.dev/provenance/v1" },
		"name":          func(s *Statement) { s.Predicate.Name = "other" },
		"version":       func(s *Statement) { s.Predicate.Version = "2" },
		"format":        func(s *Statement) { s.Predicate.Format = 2 },
		"volumes":       func(s *Statement) { s.Predicate.Volumes.N++ },
		"volume size":   func(s *Statement) { s.Predicate.Volumes.Size += mib },
		"bytes":         func(s *Statement) { s.Predicate.TotalBytes-- },
		"lock":          func(s *Statement) { s.Predicate.Lock = other },
		"absent ledger": func(s *Statement) { s.Predicate.Ledger = other },
		"parent":        func(s *Statement) { s.Predicate.Parent = other },
	} {
		st := s.Statement()
		change(&st)
		writeStatement(t, dir, st)
		if _, err := tryOpen(dir); !errors.Is(err, ErrNotTrusted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	writeStatement(t, dir, s.Statement())
	if tr := openTrusted(t, dir); tr.KeyIDs()[0] != "paper" || len(tr.Rejected()) != 0 {
		t.Errorf("keys %v, rejected %v", tr.KeyIDs(), tr.Rejected())
	}
}

func writeStatement(t *testing.T, dir string, st Statement) {
	t.Helper()
	b, err := st.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteSignature(dir, "demo", "paper", paper(b)); err != nil {
		t.Fatal(err)
	}
}

func TestLedgerIsPartOfTheStatement(t *testing.T) {
	f := newFixture("demo", 10)
	dir := t.TempDir()
	st := f.write(t, dir, WriterOptions{}).Statement()
	d, err := WriteLedger(dir, "demo", []byte("checked\n"))
	if err != nil {
		t.Fatal(err)
	}
	writeStatement(t, dir, st)
	if tr := openTrusted(t, dir); tr.Ledger() != nil {
		t.Error("a ledger that nobody signed was handed out")
	}
	st.Predicate.Ledger = d
	writeStatement(t, dir, st)
	if tr := openTrusted(t, dir); string(tr.Ledger()) != "checked\n" {
		t.Errorf("ledger %q", tr.Ledger())
	}
	flip(t, dir, "demo.ledger.json", 2)
	if _, err := tryOpen(dir); !errors.Is(err, ErrNotTrusted) || errors.Is(err, ErrNoLedger) {
		t.Errorf("changed ledger: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "demo.ledger.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(dir); !errors.Is(err, ErrNotTrusted) || !errors.Is(err, ErrNoLedger) || !strings.Contains(err.Error(), "demo.ledger.json") {
		t.Errorf("absent ledger: %v", err)
	}
}

// TestLedgerIsChosenByItsDigest: a foreign ledger in an earlier directory does
// not stand in the way of the signed one.
func TestLedgerIsChosenByItsDigest(t *testing.T) {
	f := newFixture("demo", 10)
	dir, foreign, huge := t.TempDir(), t.TempDir(), t.TempDir()
	st := f.write(t, dir, WriterOptions{}).Statement()
	var err error
	if st.Predicate.Ledger, err = WriteLedger(dir, "demo", []byte("checked\n")); err != nil {
		t.Fatal(err)
	}
	writeStatement(t, dir, st)
	if _, err := WriteLedger(foreign, "demo", []byte("bogus\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteLedger(huge, "demo", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(huge, "demo.ledger.json"), maxLedger+1); err != nil {
		t.Fatal(err)
	}
	if tr := openTrusted(t, foreign, huge, dir); string(tr.Ledger()) != "checked\n" {
		t.Errorf("ledger %q", tr.Ledger())
	}
	if err := os.Remove(filepath.Join(dir, "demo.ledger.json")); err != nil {
		t.Fatal(err)
	}
	var claim *ClaimError
	if _, err := tryOpen(foreign, huge, dir); !errors.As(err, &claim) || claim.Holds != digest.FromString("bogus\n").String() {
		t.Errorf("the signed ledger is absent: %v", err)
	}
}

func TestSignaturesAreBounded(t *testing.T) {
	f := newFixture("demo", 10)
	dir := t.TempDir()
	f.write(t, dir, WriterOptions{})
	for i := range maxSignatures + 1 {
		if found, err := Scan(dir); err != nil || len(found[0].Signatures) != i {
			t.Fatalf("%d signatures: %+v, %v", i, found, err)
		}
		if _, err := WriteSignature(dir, "demo", fmt.Sprint("key", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Scan(dir); !errors.Is(err, ErrFormat) {
		t.Errorf("%d signatures: %v", maxSignatures+1, err)
	}
}

func TestSignaturesThatDoNotCount(t *testing.T) {
	f := newFixture("demo", 10)
	dir := t.TempDir()
	s := f.write(t, dir, WriterOptions{})
	if _, err := tryOpen(dir); !errors.Is(err, ErrNotTrusted) || !strings.Contains(err.Error(), "no signature") {
		t.Errorf("unsigned: %v", err)
	}
	if _, err := WriteSignature(dir, "demo", "foreign", []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(dir); !errors.Is(err, ErrNotTrusted) {
		t.Errorf("foreign signature: %v", err)
	}
	sign(t, dir, s)
	if tr := openTrusted(t, dir); len(tr.Rejected()) != 1 || len(tr.Signatures()) != 1 {
		t.Errorf("rejected %v", tr.Rejected())
	}
	for _, id := range []string{"", "a/b", "..", "x y"} {
		if _, err := WriteSignature(dir, "demo", id, nil); err == nil {
			t.Errorf("key id %q was accepted", id)
		}
	}
}

func TestScan(t *testing.T) {
	f := newFixture("demo", 2*mib)
	a, b := t.TempDir(), t.TempDir()
	f.write(t, a, WriterOptions{VolumeSize: mib})
	if err := os.CopyFS(b, os.DirFS(a)); err != nil {
		t.Fatal(err)
	}
	found, err := Scan(a, b, a)
	if err != nil || len(found) != 1 || len(found[0].Volumes) != 3 || len(found[0].Volumes[1]) != 2 {
		t.Fatalf("two copies: %+v, %v", found, err)
	}
	found, err = Scan(filepath.Join(b, "demo.head.tar"))
	if err != nil || len(found) != 1 || len(found[0].Volumes[0]) != 1 {
		t.Errorf("by its head: %+v, %v", found, err)
	}
	flip(t, b, "demo.head.tar", 600)
	if _, err := Scan(a, b); !errors.Is(err, ErrFormat) {
		t.Errorf("one name, two heads: %v", err)
	}
	if found, err := Scan(t.TempDir()); err != nil || len(found) != 0 {
		t.Errorf("empty directory: %v, %v", found, err)
	}
	if _, err := Scan(filepath.Join(a, "demo.vol-00000.tar")); !errors.Is(err, ErrFormat) {
		t.Errorf("a volume for a head: %v", err)
	}
	if _, err := Scan(filepath.Join(a, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent path: %v", err)
	}
	if err := os.Mkdir(filepath.Join(a, "sub.head.tar"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := Scan(a); err != nil || len(found) != 1 {
		t.Errorf("a directory named like a head: %v, %v", found, err)
	}
}

func TestStatementIsWrittenAndReadAlike(t *testing.T) {
	st := Sealed{Contents: "demo", Version: "1", Index: digest.FromString("i"), Lock: digest.FromString("l"), Volumes: 3, VolumeSize: mib}.Statement()
	st.Predicate.Binaries = map[string]digest.Digest{"caisson-linux-amd64": digest.FromString("b")}
	b, err := st.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseStatement(b)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := again.Marshal(); string(b) != string(c) {
		t.Errorf("%s\n%s", b, c)
	}
	if !json.Valid(b) || strings.Contains(string(b), "\n") {
		t.Error("not one line of JSON")
	}
}

// TestStrictestStatement: which of several good statements counts follows from
// what they say and not from their files' names.
func TestStrictestStatement(t *testing.T) {
	f := newFixture("demo", 10)
	say := func(sequence int64, expires, created string) func(*Statement) {
		return func(s *Statement) {
			s.Predicate.Sequence, s.Predicate.Expires, s.Predicate.Created = sequence, expires, created
		}
	}
	const may, june, never = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z", ""
	for name, c := range map[string]struct{ strict, loose func(*Statement) }{
		"sequence":          {say(10, never, ""), say(9, may, "")},
		"expiry":            {say(1, may, ""), say(1, june, "")},
		"expires at all":    {say(1, june, ""), say(1, never, "")},
		"expiry is no time": {say(1, "soon", ""), say(1, may, "")},
		"zones":             {say(1, "2026-05-01T00:00:00+02:00", ""), say(1, may, "")},
		"bytes":             {say(1, may, "2026-01-01T00:00:00Z"), say(1, may, "2026-01-02T00:00:00Z")},
	} {
		for _, files := range [][2]string{{"a", "b"}, {"b", "a"}} {
			dir := t.TempDir()
			s := f.write(t, dir, WriterOptions{})
			var want Predicate
			for i, change := range []func(*Statement){c.loose, c.strict} {
				st := s.Statement()
				change(&st)
				want = st.Predicate
				text, err := st.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := WriteSignature(dir, "demo", files[i], paper(text)); err != nil {
					t.Fatal(err)
				}
			}
			tr := openTrusted(t, dir)
			if got := tr.Statement().Predicate; got.Sequence != want.Sequence || got.Expires != want.Expires || got.Created != want.Created {
				t.Errorf("%s, the strict one in file %s: %+v, want %+v", name, files[1], got, want)
			}
			if len(tr.Signatures()) != 2 {
				t.Errorf("%s: signatures %+v", name, tr.Signatures())
			}
		}
	}
}
