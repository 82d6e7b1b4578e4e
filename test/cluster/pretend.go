package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// pretendOperators is a component of ours that stands in for every operator whose pod
// only pretends to run: for their webhooks and aggregated APIs (pretendservers.go), for
// the authority that callers believe (pretendtrust.go), and for the work on their custom
// resources (pretendstatus.go). It knows nothing of what they decide: everything is
// allowed, and everything is done at once.
const pretendOperators = "pretend-operators"

// lookAgain is how often every object is looked at without a change of it, for what failed.
const lookAgain = time.Second

// operators is the stand-in at work.
type operators struct {
	ca      *pki
	client  kubernetes.Interface
	objects dynamic.Interface
	finish  finisher
}

// pretendSocket is where kube-apiserver asks for connections to Services.
func pretendSocket(dir string) string { return filepath.Join(dir, pretendOperators+".sock") }

// writeEgress makes kube-apiserver ask for every connection into the cluster there.
func (c *cluster) writeEgress() error {
	if !c.pretend {
		return nil
	}
	return os.WriteFile(c.egressFile(), fmt.Appendf(nil, `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: %q}}}
`, pretendSocket(c.dir)), 0o600)
}

func (c *cluster) egressFile() string { return filepath.Join(c.dir, "egress.yaml") }

func (c *cluster) egressArgs() []string {
	if !c.pretend {
		return nil
	}
	return []string{"--egress-selector-config-file=" + c.egressFile()}
}

func (c *cluster) startPretending() error {
	if !c.pretend {
		return nil
	}
	return c.processes.start(pretendOperators, c.dir, c.kubeconfig("admin"))
}

// runPretendOperators takes the state directory and a kubeconfig.
func runPretendOperators(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := pretend(ctx, args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func pretend(ctx context.Context, dir, kubeconfig string) error {
	o, err := newOperators(filepath.Join(dir, "pki", pretendOperators), kubeconfig)
	if err != nil {
		return err
	}
	socket, err := net.Listen("unix", pretendSocket(dir))
	if err != nil {
		return err
	}
	o.watch(ctx, webhookConfigurations("Mutating"), o.trustWebhooks)
	o.watch(ctx, webhookConfigurations("Validating"), o.trustWebhooks)
	o.watch(ctx, apiServices, o.trustAPIService)
	o.watch(ctx, definitions, o.meetDefinition)
	return o.serve(ctx, socket)
}

func newOperators(keys, kubeconfig string) (*operators, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.UserAgent = -1, pretendOperators
	o := &operators{finish: finisher{watched: map[string]context.CancelFunc{}}}
	if o.ca, err = newPKI(keys); err != nil {
		return nil, err
	}
	if o.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	o.objects, err = dynamic.NewForConfig(config)
	return o, err
}

// meeting does what there is to do about an object. It must not change what it is shown.
type meeting func(context.Context, *unstructured.Unstructured) error

// watch shows each object of a resource to meet until ctx ends: when it changes, and every
// lookAgain.
func (o *operators) watch(ctx context.Context, r schema.GroupVersionResource, meet meeting) {
	show := func(x any) {
		u := x.(*unstructured.Unstructured)
		err := meet(ctx, u)
		if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			log.Printf("%s %s/%s: %v", r.Resource, u.GetNamespace(), u.GetName(), err)
		}
	}
	shows := cache.ResourceEventHandlerFuncs{AddFunc: show, UpdateFunc: func(_, x any) { show(x) }}
	informer := dynamicinformer.NewFilteredDynamicInformer(o.objects, r, "", lookAgain, cache.Indexers{}, nil).Informer()
	if _, err := informer.AddEventHandler(shows); err != nil { // only once the informer has ended
		log.Print(err)
	}
	go informer.RunWithContext(ctx)
}
