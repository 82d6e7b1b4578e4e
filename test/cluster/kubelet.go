package main

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// realNode is a node with a kubelet, which somebody else runs.
type realNode struct {
	name    string
	address net.IP
}

// kubelets is a flag that can be repeated.
type kubelets []realNode

// String implements flag.Value.
func (ks *kubelets) String() string {
	var all []string
	for _, k := range *ks {
		all = append(all, k.name+"="+k.address.String())
	}
	return strings.Join(all, ",")
}

// Set implements flag.Value for NAME=ADDRESS.
func (ks *kubelets) Set(value string) error {
	name, address, _ := strings.Cut(value, "=")
	ip := net.ParseIP(address)
	if name == "" || ip == nil {
		return fmt.Errorf("%q is not NAME=ADDRESS", value)
	}
	*ks = append(*ks, realNode{name, ip})
	return nil
}

// writeKubelets writes what the real nodes need: for each one
// pki/kubelet-NAME.crt and .key, with which it serves, and
// kubelet-NAME.kubeconfig; kube-proxy.kubeconfig for all; and the key with
// which kube-apiserver asks them for logs.
func (c *cluster) writeKubelets(p *pki) error {
	if len(c.kubelets) == 0 {
		return nil
	}
	if err := c.writeNodeUsers(p); err != nil {
		return err
	}
	for _, k := range c.kubelets {
		user := "kubelet-" + k.name
		if err := p.server(user, []string{k.name}, []net.IP{k.address}); err != nil {
			return err
		}
		subject := pkix.Name{CommonName: "system:node:" + k.name, Organization: []string{"system:nodes"}}
		if err := p.client(user+"-client", subject, c.server(), c.kubeconfig(user)); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) writeNodeUsers(p *pki) error {
	proxy := pkix.Name{CommonName: "system:kube-proxy"}
	if err := p.client("kube-proxy", proxy, c.server(), c.kubeconfig("kube-proxy")); err != nil {
		return err
	}
	_, _, err := p.clientKey("kube-apiserver-kubelet-client",
		pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}})
	return err
}

// reachArgs tells kube-apiserver where it is and how it reaches kubelets. A
// loopback address may not be an endpoint.
func (c *cluster) reachArgs(pki string) []string {
	args := []string{"--bind-address=" + c.address.String(), "--advertise-address=" + c.address.String()}
	if c.address.IsLoopback() {
		args = append(args, "--endpoint-reconciler-type=none")
	}
	if len(c.kubelets) == 0 {
		return args
	}
	return append(args,
		"--kubelet-client-certificate="+filepath.Join(pki, "kube-apiserver-kubelet-client.crt"),
		"--kubelet-client-key="+filepath.Join(pki, "kube-apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+filepath.Join(pki, "ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
	)
}

// allowKubelets gives kube-proxy its role, as installers of clusters do.
func (c *cluster) allowKubelets(ctx context.Context) error {
	if len(c.kubelets) == 0 {
		return nil
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "system:kube-proxy"}},
	}
	if _, err := c.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("allowing kube-proxy: %w", err)
	}
	return nil
}
