package main

import (
	"crypto/x509/pkix"
	"path/filepath"
)

// frontProxy is the name under which kube-apiserver speaks to the servers of
// aggregated APIs for its users, and the directory of its keys in pki/. They
// have an authority of their own: whoever it vouches for may claim to be anybody.
const frontProxy = "front-proxy"

func writeFrontProxy(p *pki) error {
	own, err := newPKI(filepath.Join(p.dir, frontProxy))
	if err != nil {
		return err
	}
	_, _, err = own.clientKey("client", pkix.Name{CommonName: frontProxy})
	return err
}

// frontProxyArgs tell kube-apiserver who it is for such servers, and them, in
// the ConfigMap extension-apiserver-authentication, whom to believe.
func frontProxyArgs(pki string) []string {
	dir := filepath.Join(pki, frontProxy)
	return []string{
		"--requestheader-client-ca-file=" + filepath.Join(dir, "ca.crt"),
		"--requestheader-allowed-names=" + frontProxy,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + filepath.Join(dir, "client.crt"),
		"--proxy-client-key-file=" + filepath.Join(dir, "client.key"),
	}
}
