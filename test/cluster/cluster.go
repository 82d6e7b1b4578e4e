package main

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// pollInterval is how often a condition that cannot be watched is looked at.
const pollInterval = 100 * time.Millisecond

// options of one cluster.
type options struct {
	dir      string // absolute from newCluster on
	address  net.IP // of the API
	nodes    int
	kubelets kubelets
	taint    bool
	pretend  bool // operators
	timeout  time.Duration
}

// cluster is a control plane and its fake nodes. The state directory holds
// kubeconfig (the administrator's), pki/, etcd/, and for each component its
// log, its process id and, where it is a user of the API, its kubeconfig.
type cluster struct {
	options
	ports     struct{ etcd, peer, api int }
	processes *processes
	client    kubernetes.Interface
	progress  *log.Logger
	began     time.Time
}

// newCluster reserves ports and writes keys into o.dir; nothing runs yet.
// failed is called if a component later ends by itself.
func newCluster(o options, failed context.CancelCauseFunc) (*cluster, error) {
	c := &cluster{
		options:   o,
		processes: &processes{dir: o.dir, failed: failed, running: map[string]*process{}},
		progress:  log.New(os.Stderr, "", 0),
		began:     time.Now(),
	}
	for _, port := range []*int{&c.ports.etcd, &c.ports.peer, &c.ports.api} {
		var err error
		if *port, err = reservePort(); err != nil {
			return nil, err
		}
	}
	if err := c.writePKI(); err != nil {
		return nil, fmt.Errorf("writing keys: %w", err)
	}
	return c, c.writeEgress()
}

func (c *cluster) writePKI() error {
	p, err := newPKI(filepath.Join(c.dir, "pki"))
	if err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if err := p.server("kube-apiserver", names, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1), c.address}); err != nil {
		return err
	}
	if _, _, err := p.key("service-account"); err != nil {
		return err
	}
	if err := writeFrontProxy(p); err != nil {
		return err
	}
	users := map[string]pkix.Name{
		"admin":                   {CommonName: "kubernetes-admin", Organization: []string{"system:masters"}},
		"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
		"kube-scheduler":          {CommonName: "system:kube-scheduler"},
	}
	for name, subject := range users {
		if err := p.client(name, subject, c.server(), c.kubeconfig(name)); err != nil {
			return err
		}
	}
	return c.writeKubelets(p)
}

// server is the URL of the API.
func (c *cluster) server() string { return fmt.Sprintf("https://%s:%d", c.address, c.ports.api) }

// kubeconfig is the file with which the user of that name reaches the API.
func (c *cluster) kubeconfig(user string) string {
	if user == "admin" {
		return filepath.Join(c.dir, "kubeconfig")
	}
	return filepath.Join(c.dir, user+".kubeconfig")
}

// start brings the cluster up. When it returns nil, the API is ready, the
// default service account exists, and the fake nodes are Ready and accept
// pods.
func (c *cluster) start(ctx context.Context) error {
	steps := []struct {
		done string
		run  func(context.Context) error
	}{
		{"etcd and kube-apiserver started", c.startAPI},
		{"API ready", c.waitAPI},
		{"controllers started", c.startControllers},
		{"nodes registered", c.register},
		{"kubelets allowed", c.allowKubelets},
		{"default service account exists", c.waitServiceAccount},
		{"nodes ready", c.waitNodes},
	}
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			return err
		}
		c.progress.Printf("%5.1fs %s", time.Since(c.began).Seconds(), step.done)
	}
	return nil
}

func (c *cluster) startAPI(context.Context) error {
	if err := c.processes.start("etcd", c.etcdArgs()...); err != nil {
		return err
	}
	if err := c.processes.start("kube-apiserver", c.apiServerArgs()...); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig("admin"))
	if err != nil {
		return err
	}
	config.QPS = -1
	c.client, err = kubernetes.NewForConfig(config)
	return err
}

// restartAPIServer ends kube-apiserver, starts it again on the same port and
// returns when it is ready.
func (c *cluster) restartAPIServer(ctx context.Context) error {
	c.began = time.Now()
	c.processes.stop("kube-apiserver")
	c.progress.Printf("%5.1fs kube-apiserver stopped", time.Since(c.began).Seconds())
	if err := c.processes.start("kube-apiserver", c.apiServerArgs()...); err != nil {
		return err
	}
	if err := c.waitAPI(ctx); err != nil {
		return err
	}
	c.progress.Printf("%5.1fs API ready", time.Since(c.began).Seconds())
	return nil
}

func (c *cluster) startControllers(context.Context) error {
	if err := c.startPretending(); err != nil {
		return err
	}
	if err := c.processes.start("kube-controller-manager", c.controllerManagerArgs()...); err != nil {
		return err
	}
	if err := c.processes.start("kube-scheduler", c.schedulerArgs()...); err != nil {
		return err
	}
	b, err := stages()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.stagesFile(), b, 0o600); err != nil {
		return err
	}
	return c.processes.start("kwok", c.kwokArgs()...)
}

func (c *cluster) etcdArgs() []string {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcd)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.ports.peer)
	return []string{
		"--data-dir=" + filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--socket-reuse-port",
		"--unsafe-no-fsync", // survives the process, not the machine
		"--log-level=warn",
	}
}

func (c *cluster) apiServerArgs() []string {
	pki := filepath.Join(c.dir, "pki")
	return append(slices.Concat(c.reachArgs(pki), frontProxyArgs(pki), c.egressArgs()),
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.ports.etcd),
		fmt.Sprintf("--secure-port=%d", c.ports.api), "--permit-port-sharing",
		"--tls-cert-file="+filepath.Join(pki, "kube-apiserver.crt"),
		"--tls-private-key-file="+filepath.Join(pki, "kube-apiserver.key"),
		"--client-ca-file="+filepath.Join(pki, "ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+filepath.Join(pki, "service-account.key"),
		"--service-account-signing-key-file="+filepath.Join(pki, "service-account.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--shutdown-watch-termination-grace-period=1s", // else its end waits for every watch
		"--profiling=false",
	)
}

func (c *cluster) controllerManagerArgs() []string {
	pki := filepath.Join(c.dir, "pki")
	return []string{
		"--kubeconfig=" + c.kubeconfig("kube-controller-manager"),
		"--service-account-private-key-file=" + filepath.Join(pki, "service-account.key"),
		"--root-ca-file=" + filepath.Join(pki, "ca.crt"),
		"--cluster-signing-cert-file=" + filepath.Join(pki, "ca.crt"),
		"--cluster-signing-key-file=" + filepath.Join(pki, "ca.key"),
		"--use-service-account-credentials",
		"--node-monitor-grace-period=10m", // a stalled machine must not evict pods
		"--flex-volume-plugin-dir=" + filepath.Join(c.dir, "flexvolume"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
	}
}

func (c *cluster) schedulerArgs() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig("kube-scheduler"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
	}
}

func (c *cluster) kwokArgs() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig("admin"),
		"--config=" + c.stagesFile(),
		"--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=" + fakeAnnotation + "=fake",
		"--node-lease-duration-seconds=40",
		"--cidr=10.244.0.0/16",
		"--node-port=0", // no kubelet API
	}
}

func (c *cluster) stagesFile() string { return filepath.Join(c.dir, "stages.yaml") }

func (c *cluster) waitAPI(ctx context.Context) error {
	return poll(ctx, "the API to be ready", func(ctx context.Context) error {
		_, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

func (c *cluster) waitServiceAccount(ctx context.Context) error {
	return poll(ctx, "the default service account", func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// poll waits until condition returns nil. If ctx ends before, the error says
// what was waited for and the last answer.
func poll(ctx context.Context, what string, condition func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		last = condition(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, last)
	}
	return nil
}
