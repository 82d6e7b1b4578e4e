package sign

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	caisson "github.com/caisson/caisson/bundle"
)

// The formats inside a signature file: a Sigstore bundle v0.3 that holds a DSSE
// envelope around an in-toto statement, made with a key.
const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType     = caisson.PayloadType
)

// MaxSignature bounds a signature file.
const MaxSignature = 1 << 20

// ErrEnvelope says that a signature file is not one, or not in the one spelling
// that is accepted.
var ErrEnvelope = errors.New("not a canonical signature file")

// envelope is the signature file, in the order of its canonical encoding.
type envelope struct {
	MediaType string        `json:"mediaType"`
	Material  material      `json:"verificationMaterial"`
	DSSE      signedPayload `json:"dsseEnvelope"`
}

type material struct {
	PublicKey publicKeyHint `json:"publicKey"`
}

type publicKeyHint struct {
	Hint string `json:"hint"`
}

// signedPayload is the DSSE envelope, in the order of its canonical encoding.
type signedPayload struct {
	Payload     []byte          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []dsseSignature `json:"signatures"`
}

type dsseSignature struct {
	Sig []byte `json:"sig"`
}

// marshal is the canonical encoding: the fields above in their order, no
// spaces, one newline at the end.
func (e envelope) marshal() ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// parseEnvelope reads a signature file and accepts the canonical encoding
// alone: every byte of the file is then accounted for by what it means.
func parseEnvelope(data []byte) (envelope, error) {
	var e envelope
	if len(data) > MaxSignature {
		return e, fmt.Errorf("%w: larger than %d bytes", ErrEnvelope, MaxSignature)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("%w: %v", ErrEnvelope, err)
	}
	again, err := e.marshal()
	if err != nil || !bytes.Equal(again, data) {
		return e, fmt.Errorf("%w: it differs from its own encoding", ErrEnvelope)
	}
	return e, e.checkFields()
}

func (e envelope) checkFields() error {
	switch {
	case e.MediaType != bundleMediaType:
		return fmt.Errorf("%w: media type %q", ErrEnvelope, e.MediaType)
	case e.DSSE.PayloadType != payloadType:
		return fmt.Errorf("%w: payload type %q", ErrEnvelope, e.DSSE.PayloadType)
	case len(e.DSSE.Signatures) != 1:
		return fmt.Errorf("%w: %d signatures", ErrEnvelope, len(e.DSSE.Signatures))
	}
	if sum, err := base64.StdEncoding.Strict().DecodeString(e.Material.PublicKey.Hint); err != nil || len(sum) != 32 {
		return fmt.Errorf("%w: key hint", ErrEnvelope)
	}
	return nil
}

// SignStatement wraps an in-toto statement's bytes, signed, into a signature
// file. It does not look at what it signs.
func (k *PrivateKey) SignStatement(payload []byte) ([]byte, error) {
	sig, err := k.signBytes(dsse.PAE(payloadType, payload))
	if err != nil {
		return nil, fmt.Errorf("signing the statement: %w", err)
	}
	e := envelope{
		MediaType: bundleMediaType,
		Material:  material{PublicKey: publicKeyHint{Hint: k.Public.keyHint()}},
		DSSE:      signedPayload{Payload: payload, PayloadType: payloadType, Signatures: []dsseSignature{{Sig: sig}}},
	}
	return e.marshal()
}

// Peek returns the statement inside a signature file and the id of the key it
// claims, UNVERIFIED: for telling files apart, never for trusting one.
func Peek(signature []byte) (payload []byte, keyID string, err error) {
	e, err := parseEnvelope(signature)
	if err != nil {
		return nil, "", err
	}
	return e.DSSE.Payload, e.claimedID(), nil
}

// claimedID is the key id that the hint stands for.
func (e envelope) claimedID() string {
	sum, err := base64.StdEncoding.DecodeString(e.Material.PublicKey.Hint)
	if err != nil || len(sum) < 8 {
		return ""
	}
	return fmt.Sprintf("%x", sum[:8])
}
