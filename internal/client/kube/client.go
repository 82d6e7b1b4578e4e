// Package kube is the product's only way to a Kubernetes API server: server-side
// apply, deletion, readiness, chunked records, the install lease, and what the
// cluster says about itself.
//
// It holds no decision: what to apply, what to delete and how long to wait is
// told to it. It never renders, never pulls an image and never executes
// anything in a pod.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/caisson/caisson/internal/api/journal"
)

// Manager is the field manager of everything the product applies.
const Manager = "caisson"

// SystemNamespace holds the product's own records in a cluster.
const SystemNamespace = "caisson-system"

// ErrUnreachable is wrapped when the API server does not answer.
var ErrUnreachable = errors.New("the Kubernetes API server does not answer")

// ErrConfig is wrapped when the kubeconfig is missing, cannot be read or has no
// such context.
var ErrConfig = errors.New("it does not lead to a cluster")

// Options picks a cluster. The zero value is kubectl's own choice: KUBECONFIG,
// then ~/.kube/config, then the pod's service account; the current context.
type Options struct {
	Kubeconfig string
	Context    string
	UserAgent  string // default "caisson"
}

// Client talks to one cluster. It is safe for concurrent use.
type Client struct {
	Core      kubernetes.Interface
	config    *rest.Config
	loader    clientcmd.ClientConfig
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.ResettableRESTMapper
	identity  journal.Operator
	lease     time.Duration // how long the install lease lasts unless renewed
	lists     *sharedLists
}

// Connect makes a client and asks the server for its version, so that a wrong
// address or credential shows here. Errors wrap ErrConfig where the kubeconfig is
// at fault, and ErrUnreachable where the server did not answer.
func Connect(ctx context.Context, opt Options) (*Client, error) {
	c, err := newClient(opt)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w: %w", ErrConfig, err)
	}
	if err := c.checkReachable(ctx); err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w: %w", c.config.Host, ErrUnreachable, err)
	}
	c.identity.User = c.whoAmI(ctx)
	return c, ctx.Err()
}

// checkReachable asks for the server's version without the patience of later requests.
func (c *Client) checkReachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	return c.Core.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
}

// greeting bounds the first answer of a server.
const greeting = 5 * time.Second

func newClient(opt Options) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = opt.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: opt.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, noConfig(loader, rules.GetLoadingPrecedence(), opt.Context, err)
	}
	config.UserAgent = opt.UserAgent
	if config.UserAgent == "" {
		config.UserAgent = Manager
	}
	config.QPS, config.Burst = 200, 400
	config.Wrap(func(inner http.RoundTripper) http.RoundTripper { return patient{inner, outage} })
	config.WarningHandler = rest.NoWarnings{}
	c := &Client{config: config, loader: loader, identity: operatorIdentity(loader, opt.Context), lease: leaseDuration, lists: newSharedLists()}
	return c, c.makeClients()
}

// noConfig says in what the files fall short that gave err.
func noConfig(loader clientcmd.ClientConfig, files []string, context string, err error) error {
	raw, broken := loader.RawConfig()
	if broken != nil {
		return broken
	}
	context = cmp.Or(context, raw.CurrentContext)
	where, known := strings.Join(files, " or "), strings.Join(slices.Sorted(maps.Keys(raw.Contexts)), ", ")
	switch {
	case known == "":
		return fmt.Errorf("there is no context in %s", where)
	case context == "":
		return fmt.Errorf("there is no current context in %s, which has: %s", where, known)
	case raw.Contexts[context] == nil:
		return fmt.Errorf("there is no context %q in %s, which has: %s", context, where, known)
	case clientcmd.IsEmptyConfig(err):
		return fmt.Errorf("context %q in %s leads to no cluster's address", context, where)
	}
	return err
}

func (c *Client) makeClients() error {
	core, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	dyn, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	if c.metadata, err = metadata.NewForConfig(c.config); err != nil {
		return err
	}
	c.Core, c.dynamic = core, dyn
	c.discovery = memory.NewMemCacheClient(core.Discovery())
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	return nil
}

func operatorIdentity(loader clientcmd.ClientConfig, context string) journal.Operator {
	var id journal.Operator
	id.Host, _ = os.Hostname()
	raw, err := loader.RawConfig()
	if err != nil {
		return id
	}
	id.Context = cmp.Or(context, raw.CurrentContext)
	if c := raw.Contexts[id.Context]; c != nil {
		id.Cluster, id.AuthInfo = c.Cluster, c.AuthInfo
	}
	return id
}

// Identity says who the operator is.
func (c *Client) Identity() journal.Operator { return c.identity }

// Server is the API server's address.
func (c *Client) Server() string { return c.config.Host }

// Version is the server's version, like v1.33.4.
func (c *Client) Version() (string, error) {
	v, err := c.discovery.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("asking for the server version: %w: %w", ErrUnreachable, err)
	}
	return v.GitVersion, nil
}

// UID names the cluster for good: the UID of its kube-system namespace.
func (c *Client) UID(ctx context.Context) (string, error) {
	ns, err := c.Core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading namespace kube-system: %w", err)
	}
	return string(ns.UID), nil
}

// Nodes lists the cluster's nodes.
func (c *Client) Nodes(ctx context.Context) ([]corev1.Node, error) {
	list, err := c.Core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	return list.Items, nil
}

// APIVersions lists what the server serves, as Helm's Capabilities.APIVersions
// does: "apps/v1" and "apps/v1/Deployment". A group whose server is away is
// left out.
func (c *Client) APIVersions() ([]string, error) {
	groups, lists, err := c.discovery.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("discovering the server's resources: %w", err)
	}
	seen := map[string]bool{}
	for _, g := range groups {
		for _, v := range g.Versions {
			seen[v.GroupVersion] = true
		}
	}
	for _, l := range lists {
		for _, r := range l.APIResources {
			seen[l.GroupVersion+"/"+r.Kind] = true
		}
	}
	return sortedKeys(seen), nil
}

// Refresh forgets what was discovered, for after custom resource definitions
// have changed.
func (c *Client) Refresh() {
	c.discovery.Invalidate()
	c.mapper.Reset()
}

// Getter is the client as Helm and cli-runtime want it. The loader's namespace
// is namespace.
func (c *Client) Getter(namespace string) *Getter {
	return &Getter{client: c, namespace: namespace}
}

// Getter implements genericclioptions.RESTClientGetter over the Client's own
// caches.
type Getter struct {
	client    *Client
	namespace string
}

// ToRESTConfig returns a copy.
func (g *Getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.client.config), nil }

// ToDiscoveryClient returns the shared cache.
func (g *Getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.client.discovery, nil
}

// ToRESTMapper returns the shared mapper, which Refresh resets.
func (g *Getter) ToRESTMapper() (meta.RESTMapper, error) { return g.client.mapper, nil }

// ToRawKubeConfigLoader answers with the Getter's namespace.
func (g *Getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return namespaced{g.client.loader, g.namespace}
}

// namespaced is a kubeconfig loader with another namespace.
type namespaced struct {
	loader    clientcmd.ClientConfig
	namespace string
}

func (n namespaced) RawConfig() (clientcmdapi.Config, error) { return n.loader.RawConfig() }
func (n namespaced) ClientConfig() (*rest.Config, error)     { return n.loader.ClientConfig() }
func (n namespaced) Namespace() (string, bool, error)        { return n.namespace, true, nil }
func (n namespaced) ConfigAccess() clientcmd.ConfigAccess    { return n.loader.ConfigAccess() }
