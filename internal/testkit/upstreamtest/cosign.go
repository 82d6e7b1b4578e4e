package upstreamtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// signingKey returns the key that signs the fixtures. It follows from a public
// sentence and must never sign anything else.
func signingKey() *ecdsa.PrivateKey {
	scalar := sha256.Sum256([]byte("upstreamtest signing key"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		panic(err) // the scalar is fixed
	}
	return key
}

// SigningKey returns the PEM public key (ECDSA P-256) whose cosign signature
// the signed fixtures carry.
func SigningKey() []byte {
	der, err := x509.MarshalPKIXPublicKey(signingKey().Public())
	if err != nil {
		panic(err) // the key is fixed
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// cosignSignature returns the image that cosign stores beside a signed one, in its
// classic format: a layer with the simple signing document, the signature over
// it in an annotation. reference is the claimed repository.
func cosignSignature(signed artifact, reference string) artifact {
	payload := mustJSON(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": reference},
			"image":    map[string]string{"docker-manifest-digest": signed.descriptor.Digest.String()},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	sum := sha256.Sum256(payload)
	sig, err := signingKey().Sign(nil, sum[:], crypto.SHA256) // without a random source: RFC 6979
	if err != nil {
		panic(err) // the key is fixed
	}
	config := mustJSON(v1.Image{RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(payload)}}})
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	m.Config = describeData(v1.MediaTypeImageConfig, config)
	m.Layers = []v1.Descriptor{describeData("application/vnd.dev.cosign.simplesigning.v1+json", payload)}
	m.Layers[0].Annotations = map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig),
	}
	a := newArtifact(m.MediaType, "", m)
	a.blobs = [][]byte{config, payload}
	return a
}

// fallbackTag returns the tag that stands for what belongs to a digest:
// "sha256-<hex>" for the referrers index of the OCI distribution specification,
// and with suffix ".sig" for cosign's classic signature.
func fallbackTag(d digest.Digest, suffix string) string {
	return d.Algorithm().String() + "-" + d.Encoded() + suffix
}
