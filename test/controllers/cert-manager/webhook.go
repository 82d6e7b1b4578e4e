package main

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	config "github.com/cert-manager/cert-manager/internal/apis/config/webhook"
	"github.com/cert-manager/cert-manager/internal/webhook"
)

func runWebhook(ctx context.Context, args []string) error {
	options := config.WebhookConfiguration{SecurePort: 6443, HealthzPort: 6080, MetricsListenAddress: "0.0.0.0:9402"}
	dynamic := &options.TLSConfig.Dynamic
	dynamic.LeafDuration = 7 * 24 * time.Hour
	flags := newFlags("webhook")
	flags.Int32Var(&options.SecurePort, "secure-port", options.SecurePort, "")
	flags.Int32Var(&options.HealthzPort, "healthz-port", options.HealthzPort, "")
	flags.StringVar(&options.MetricsListenAddress, "metrics-listen-address", options.MetricsListenAddress, "")
	flags.StringVar(&dynamic.SecretNamespace, "dynamic-serving-ca-secret-namespace", "", "")
	flags.StringVar(&dynamic.SecretName, "dynamic-serving-ca-secret-name", "", "")
	flags.StringSliceVar(&dynamic.DNSNames, "dynamic-serving-dns-names", nil, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, err := webhook.NewCertManagerWebhookServer(klog.Background(), options)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
