package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/healthz"

	// Each of these registers itself. One that is missing would be missed by
	// nobody until a Certificate stays as it is.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

// Where the chart's ports point.
const (
	metricsAddress = ":9402"
	healthzAddress = ":9403"
)

// workers of each controller.
const workers = 5

func runController(ctx context.Context, args []string) error {
	var leader leaderFlags
	options := controllerOptions()
	flags := newFlags("controller")
	leader.add(flags)
	flags.StringVar(&options.ClusterResourceNamespace, "cluster-resource-namespace", "kube-system", "")
	flags.BoolVar(&options.EnableOwnerRef, "enable-certificate-owner-ref", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	factory, err := controller.NewContextFactory(ctx, options)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	health := healthz.NewServer(leader.renew)
	if err := listen(healthzAddress, group, func(l net.Listener) error { return health.Start(ctx, l) }); err != nil {
		return err
	}
	group.Go(func() error { return lead(ctx, factory, leader, health.LeaderHealthzAdaptor) })
	return group.Wait()
}

func controllerOptions() controller.ContextOptions {
	return controller.ContextOptions{
		KubernetesAPIQPS: 20, KubernetesAPIBurst: 50,
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/"},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
		IngressShimOptions: controller.IngressShimOptions{GatewayAPIExtraProtocols: sets.New[string]()},
	}
}

// lead runs every controller while this process is the leader.
func lead(ctx context.Context, factory *controller.ContextFactory, leader leaderFlags, watch *leaderelection.HealthzAdaptor) error {
	election, err := factory.Build("leader-election")
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, leader.namespace, "cert-manager-controller",
		election.Client.CoreV1(), election.Client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: name + "-external-cert-manager-controller"})
	if err != nil {
		return fmt.Errorf("making the lock: %w", err)
	}
	result := errors.New("no longer the leader")
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leader.lease, RenewDeadline: leader.renew, RetryPeriod: leader.retry,
		ReleaseOnCancel: true, WatchDog: watch,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { result = runControllers(ctx, factory) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return result
}

// runControllers runs all that are registered and their caches.
func runControllers(ctx context.Context, factory *controller.ContextFactory) error {
	group, ctx := errgroup.WithContext(ctx)
	for name, construct := range controller.Known() {
		one, err := construct(factory)
		if err != nil {
			return fmt.Errorf("making controller %s: %w", name, err)
		}
		group.Go(func() error { return one.Run(workers, ctx) })
	}
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	err = listen(metricsAddress, group, func(l net.Listener) error {
		server := shared.Metrics.NewServer(l)
		context.AfterFunc(ctx, func() { _ = server.Close() })
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return group.Wait()
}

// listen serves an address in the group.
func listen(address string, group *errgroup.Group, serve func(net.Listener) error) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	group.Go(func() error { return serve(l) })
	return nil
}
