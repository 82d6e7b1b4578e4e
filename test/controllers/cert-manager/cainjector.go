package main

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kscheme "k8s.io/client-go/kubernetes/scheme"
	apireg "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	"github.com/cert-manager/cert-manager/pkg/util"
)

func runCAInjector(ctx context.Context, args []string) error {
	var leader leaderFlags
	flags := newFlags("cainjector")
	leader.add(flags)
	metrics := flags.String("metrics-listen-address", "0.0.0.0:9402", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(kscheme.AddToScheme(scheme), cmapi.AddToScheme(scheme), apiext.AddToScheme(scheme), apireg.AddToScheme(scheme)); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	// Without a user agent it would have no field manager either.
	manager, err := ctrl.NewManager(util.RestConfigWithUserAgent(config, "cainjector"), ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: *metrics},
		LeaderElection: true, LeaderElectionID: "cert-manager-cainjector-leader-election",
		LeaderElectionNamespace: leader.namespace, LeaderElectionReleaseOnCancel: true,
		LeaseDuration: &leader.lease, RenewDeadline: &leader.renew, RetryPeriod: &leader.retry,
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		return err
	}
	err = cainjector.RegisterAllInjectors(ctx, manager, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			cainjector.MutatingWebhookConfigurationName: true, cainjector.ValidatingWebhookConfigurationName: true,
			cainjector.APIServiceName: true, cainjector.CustomResourceDefinitionName: true,
		},
	})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}
