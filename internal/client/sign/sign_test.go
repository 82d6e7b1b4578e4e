package sign

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

const statement = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"index.json","digest":{"sha256":"` +
	`0000000000000000000000000000000000000000000000000000000000000000"}}],"predicateType":"https://caisson.dev/bundle/v1","predicate":{"name":"demo"}}`

func secret(word string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(word), nil }
}

func newKey(t testing.TB) *PrivateKey {
	t.Helper()
	key, err := newPrivateKey(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeyPairFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	pair, err := GenerateKeyPair([]byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteKeyPair(dir, pair); err != nil {
		t.Fatal(err)
	}
	private, public := filepath.Join(dir, PrivateKeyFile), filepath.Join(dir, PublicKeyFile)
	info, err := os.Stat(private)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	key, err := LoadPrivateKey(private, secret("word"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := LoadPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if key.Public.ID != pub.ID || pub.ID != pair.Public.ID || len(pub.ID) != 16 {
		t.Errorf("ids %s %s %s", key.Public.ID, pub.ID, pair.Public.ID)
	}
	for _, wrong := range []func() ([]byte, error){secret("other"), secret(""), nil} {
		if _, err := LoadPrivateKey(private, wrong); !errors.Is(err, ErrPassword) {
			t.Errorf("wrong password: %v", err)
		}
	}
}

func TestKeyPairIsNeverOverwritten(t *testing.T) {
	for _, there := range []string{PrivateKeyFile, PublicKeyFile} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, there), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		pair, err := GenerateKeyPair(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteKeyPair(dir, pair); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v", there, err)
		}
		entries, _ := os.ReadDir(dir)
		data, _ := os.ReadFile(filepath.Join(dir, there))
		if len(entries) != 1 || string(data) != "mine" {
			t.Errorf("%s: %d files, %q", there, len(entries), data)
		}
	}
}

// Keys of every form that cosign or openssl write are read; those that would
// not verify everywhere are not.
func TestKeyForms(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	big, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	sec1, _ := x509.MarshalECPrivateKey(ec)
	sealed, _ := encrypted.EncryptWithCustomKDFParameters(pkcs8(ec), []byte("word"), encrypted.Legacy)
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"sigstore":    {block(pemSigstore, sealed), nil},
		"cosign":      {block(pemCosign, sealed), nil},
		"pkcs8":       {block(pemPKCS8, pkcs8(ec)), nil},
		"sec1":        {block(pemEC, sec1), nil},
		"rsa":         {block(pemPKCS8, pkcs8(big)), nil},
		"ed25519":     {block(pemPKCS8, pkcs8(ed)), nil},
		"p384":        {block(pemPKCS8, pkcs8(p384)), ErrKeyFormat},
		"small rsa":   {block(pemPKCS8, pkcs8(small)), ErrKeyFormat},
		"no pem":      {[]byte("hello"), ErrKeyFormat},
		"certificate": {block("CERTIFICATE", sealed), ErrKeyFormat},
		"garbage":     {block(pemSigstore, []byte("{}")), ErrPassword},
		"too large":   {bytes.Repeat([]byte("a"), maxKeyFile+1), ErrKeyFormat},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			key, err := LoadPrivateKey(path, secret("word"))
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v", err)
			}
			if c.want != nil {
				return
			}
			file, err := key.SignStatement([]byte(statement))
			if err != nil {
				t.Fatal(err)
			}
			payload, id, err := Checker{Keys: []PublicKey{key.Public}}.CheckSignature(file)
			if err != nil || string(payload) != statement || id != key.Public.ID {
				t.Errorf("%q %s %v", payload, id, err)
			}
		})
	}
}

func TestPasswordIsAskedOnlyWhenNeeded(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	plain := pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der})
	if _, err := parsePrivateKey(plain, func() ([]byte, error) { return nil, errors.New("asked") }); err != nil {
		t.Error(err)
	}
	gone := errors.New("no terminal")
	pair, _ := GenerateKeyPair(nil)
	if _, err := parsePrivateKey(pair.Private, func() ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}

func TestCheckerRefuses(t *testing.T) {
	key, other := newKey(t), newKey(t)
	sign := func(k *PrivateKey, payload string) []byte {
		file, err := k.SignStatement([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := sign(key, statement)
	edit := func(do func(*envelope)) []byte {
		e, err := parseEnvelope(good)
		if err != nil {
			t.Fatal(err)
		}
		do(&e)
		out, _ := e.marshal()
		return out
	}
	accepted := Checker{Keys: []PublicKey{key.Public}}
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"other key":         {sign(other, statement), ErrUnknownKey},
		"claims our key":    {edit(func(e *envelope) { f, _ := parseEnvelope(sign(other, statement)); e.DSSE = f.DSSE }), ErrSignature},
		"other payload":     {edit(func(e *envelope) { e.DSSE.Payload = []byte(strings.Replace(statement, "demo", "dem0", 1)) }), ErrSignature},
		"other predicate":   {sign(key, strings.Replace(statement, "bundle/v1", "other/v1", 1)), ErrPredicate},
		"other statement":   {sign(key, strings.Replace(statement, "Statement/v1", "Statement/v0.1", 1)), nil},
		"no json":           {sign(key, "hello"), nil},
		"payload type":      {edit(func(e *envelope) { e.DSSE.PayloadType = "text/plain" }), ErrEnvelope},
		"media type":        {edit(func(e *envelope) { e.MediaType = "application/json" }), ErrEnvelope},
		"no signature":      {edit(func(e *envelope) { e.DSSE.Signatures = nil }), ErrEnvelope},
		"two signatures":    {edit(func(e *envelope) { e.DSSE.Signatures = append(e.DSSE.Signatures, e.DSSE.Signatures[0]) }), ErrEnvelope},
		"empty signature":   {edit(func(e *envelope) { e.DSSE.Signatures[0].Sig = nil }), nil},
		"bad hint":          {edit(func(e *envelope) { e.Material.PublicKey.Hint = "!" }), ErrEnvelope},
		"space":             {bytes.Replace(good, []byte(`":`), []byte(`": `), 1), ErrEnvelope},
		"unknown field":     {bytes.Replace(good, []byte(`{"mediaType"`), []byte(`{"x":1,"mediaType"`), 1), ErrEnvelope},
		"field twice":       {bytes.Replace(good, []byte(`{"mediaType"`), []byte(`{"mediaType":"a","mediaType"`), 1), ErrEnvelope},
		"other case":        {bytes.Replace(good, []byte(`"mediaType"`), []byte(`"MediaType"`), 1), ErrEnvelope},
		"more at the end":   {append(bytes.Clone(good), '\n'), ErrEnvelope},
		"less at the end":   {good[:len(good)-1], ErrEnvelope},
		"cut":               {good[:len(good)/2], ErrEnvelope},
		"empty":             {nil, ErrEnvelope},
		"too large":         {append(bytes.Clone(good), bytes.Repeat([]byte(" "), MaxSignature)...), ErrEnvelope},
		"null":              {[]byte("null\n"), ErrEnvelope},
		"deep":              {[]byte(strings.Repeat("[", 100000)), ErrEnvelope},
		"padding bits":      {spareBits(good), ErrEnvelope},
		"certificate added": {bytes.Replace(good, []byte(`{"publicKey"`), []byte(`{"certificate":{"rawBytes":"AA=="},"publicKey"`), 1), ErrEnvelope},
	} {
		t.Run(name, func(t *testing.T) {
			payload, id, err := accepted.CheckSignature(c.file)
			if err == nil || payload != nil || id != "" {
				t.Fatalf("accepted: %q %s", payload, id)
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	if _, _, err := accepted.CheckSignature(good); err != nil {
		t.Error(err)
	}
	if _, _, err := (Checker{}).CheckSignature(good); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without keys: %v", err)
	}
}

// spareBits sets a bit of a base64 text that decodes to nothing.
func spareBits(file []byte) []byte {
	i := bytes.Index(file, []byte(`="`))
	if i < 1 {
		return nil
	}
	for i > 0 && file[i] == '=' {
		i--
	}
	out := bytes.Clone(file)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.IndexByte(letters, out[i])
	out[i] = letters[at^1]
	return out
}

// A flipped byte anywhere in a signature file is refused.
func TestEveryFlip(t *testing.T) {
	key := newKey(t)
	file, err := key.SignStatement([]byte(statement))
	if err != nil {
		t.Fatal(err)
	}
	c := Checker{Keys: []PublicKey{key.Public}}
	for i := range file {
		for _, bit := range []byte{1, 0x20, 0x80} {
			bad := bytes.Clone(file)
			bad[i] ^= bit
			if _, _, err := c.CheckSignature(bad); err == nil {
				t.Errorf("byte %d, bit %#x: accepted", i, bit)
			}
		}
	}
}

// The signed bytes are those of the DSSE specification.
func TestPreAuth(t *testing.T) {
	got := string(dsse.PAE("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzEnvelope(f *testing.F) {
	key := newKey(f)
	file, err := key.SignStatement([]byte(statement))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	f.Add([]byte("{}\n"))
	c := Checker{Keys: []PublicKey{key.Public}}
	f.Fuzz(func(t *testing.T, data []byte) {
		payload, _, err := Peek(data)
		if err == nil {
			e, _ := parseEnvelope(data)
			again, err := e.marshal()
			if err != nil || !bytes.Equal(again, data) || !bytes.Equal(payload, e.DSSE.Payload) {
				t.Error("not canonical and yet accepted")
			}
		}
		if got, _, err := c.CheckSignature(data); err == nil && string(got) != statement {
			t.Errorf("a statement nobody signed: %q", got)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	f.Add(newKey(f).Public.PEM())
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParsePublicKey(data)
		if err != nil {
			return
		}
		if again, err := ParsePublicKey(key.PEM()); err != nil || again.ID != key.ID {
			t.Errorf("%s, %s, %v", key.ID, again.ID, err)
		}
	})
}

// conformance is where the Sigstore conformance suite's cases may lie, beside
// the repository.
const conformance = "../../../../shared/data/sigstore-conformance/assets/bundle-verify"

// The cases with a key of the Sigstore conformance suite. They carry log entries
// and say other things than bundles do, so the envelope is checked below the
// rules that are this tool's own.
func TestSigstoreConformance(t *testing.T) {
	cases, _ := filepath.Glob(filepath.Join(conformance, "managed-key*"))
	if len(cases) == 0 {
		t.Skip("skipped: the Sigstore conformance cases are not beside the repository")
	}
	artifact, err := os.ReadFile(filepath.Join(conformance, "..", "a.txt"))
	if err != nil {
		artifact, err = os.ReadFile(filepath.Join(conformance, "a.txt"))
	}
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if err != nil {
				t.Skip("skipped: the artifact of the cases is not there")
			}
			got := conform(t, dir, artifact)
			if fails := strings.HasSuffix(dir, "_fail"); (got != nil) != fails {
				t.Errorf("error %v", got)
			}
		})
	}
}

func conform(t *testing.T, dir string, artifact []byte) error {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "bundle.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Checker{}).CheckSignature(data); err == nil {
		t.Error("the checker accepts it without a key")
	}
	key, err := LoadPublicKey(filepath.Join(dir, "key.pub"))
	if err != nil {
		return err
	}
	_, err = verifyEntity(data, key, verify.WithArtifact(bytes.NewReader(artifact)))
	return err
}

// The file has the form that protojson of a Sigstore bundle has.
func TestShape(t *testing.T) {
	file, err := newKey(t).SignStatement([]byte(statement))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		MediaType            string
		VerificationMaterial struct{ PublicKey struct{ Hint string } }
		DSSEEnvelope         struct {
			Payload, PayloadType string
			Signatures           []struct{ Sig string }
		}
	}
	if err := json.Unmarshal(file, &got); err != nil {
		t.Fatal(err)
	}
	if p, _ := base64.StdEncoding.DecodeString(got.DSSEEnvelope.Payload); string(p) != statement || len(got.DSSEEnvelope.Signatures) != 1 {
		t.Errorf("%s", file)
	}
}

// A key pair that the stock tool (cosign 2.6.5) wrote is one of ours.
func TestKeyOfStockTool(t *testing.T) {
	key, err := LoadPrivateKey(filepath.Join("testdata", "cosign-2.6.5.key"), secret("caisson-test"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := LoadPublicKey(filepath.Join("testdata", "cosign-2.6.5.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if key.Public.ID != public.ID {
		t.Errorf("%s and %s", key.Public.ID, public.ID)
	}
}
