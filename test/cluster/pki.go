package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// lifetime of every certificate: a cluster lasts for a test run.
const lifetime = 30 * 24 * time.Hour

// pki writes the keys and certificates of one cluster into a directory as
// NAME.crt and NAME.key (PEM, ECDSA P-256, mode 0600).
type pki struct {
	dir   string
	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
	caPEM []byte
}

// newPKI makes a certificate authority, ca.crt and ca.key in dir.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &pki{dir: dir}
	template, err := certificate(pkix.Name{CommonName: "test-cluster-ca"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage |= x509.KeyUsageCertSign
	p.ca = template
	p.caPEM, _, err = p.issue("ca", template)
	return p, err
}

// certificate is a template with a random serial number, valid from an hour
// ago on.
func certificate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

// issue makes a key and a certificate for it after the template, signed by
// the authority (by itself if it is the authority's own, the first), writes
// both and returns them as PEM.
func (p *pki) issue(name string, template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, keyPEM, err := p.key(name)
	if err != nil {
		return nil, nil, err
	}
	if p.caKey == nil {
		p.caKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, key.Public(), p.caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing certificate %s: %w", name, err)
	}
	certPEM, err = p.write(name+".crt", "CERTIFICATE", der)
	return certPEM, keyPEM, err
}

// clientKey issues a certificate for a client, without a kubeconfig.
func (p *pki) clientKey(name string, subject pkix.Name) (certPEM, keyPEM []byte, err error) {
	template, err := certificate(subject)
	if err != nil {
		return nil, nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return p.issue(name, template)
}

// key makes a key and writes it.
func (p *pki) key(name string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := p.write(name+".key", "EC PRIVATE KEY", der)
	return key, keyPEM, err
}

func (p *pki) write(file, kind string, der []byte) ([]byte, error) {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return b, os.WriteFile(filepath.Join(p.dir, file), b, 0o600)
}

// server issues a serving certificate for the names and addresses.
func (p *pki) server(name string, dns []string, ips []net.IP) error {
	template, err := certificate(pkix.Name{CommonName: name})
	if err != nil {
		return err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = dns
	template.IPAddresses = ips
	_, _, err = p.issue(name, template)
	return err
}

// client issues a certificate for a user of the API and writes the
// kubeconfig, file, with which it reaches the server.
func (p *pki) client(name string, subject pkix.Name, server, file string) error {
	certPEM, keyPEM, err := p.clientKey(name, subject)
	if err != nil {
		return err
	}
	const cluster = "test"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{cluster: {Server: server, CertificateAuthorityData: p.caPEM}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {ClientCertificateData: certPEM, ClientKeyData: keyPEM}},
		Contexts:       map[string]*clientcmdapi.Context{cluster: {Cluster: cluster, AuthInfo: name}},
		CurrentContext: cluster,
	}, file)
}
