// Command cert-manager is the controller, the webhook, the cainjector and the
// API check of cert-manager in one program, out of its own packages. It stands
// in for the mains of its release, which are modules of their own that no proxy
// serves, and leaves ACME and what asks clouds out.
//
//	cert-manager controller|webhook|cainjector|startupapicheck [FLAGS]
//
// Flags are those that its chart gives; unknown ones are passed over.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	programs := map[string]func(context.Context, []string) error{
		"controller": runController, "webhook": runWebhook, "cainjector": runCAInjector, "startupapicheck": runCheck,
	}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: cert-manager controller|webhook|cainjector|startupapicheck [FLAGS]")
		os.Exit(2)
	}
	ctrl.SetLogger(klog.Background())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := programs[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// leaderFlags say where and how a leader is elected.
type leaderFlags struct {
	namespace           string
	lease, renew, retry time.Duration
}

func (l *leaderFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&l.namespace, "leader-election-namespace", "kube-system", "")
	flags.DurationVar(&l.lease, "leader-election-lease-duration", time.Minute, "")
	flags.DurationVar(&l.renew, "leader-election-renew-deadline", 40*time.Second, "")
	flags.DurationVar(&l.retry, "leader-election-retry-period", 15*time.Second, "")
}

func newFlags(name string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	return flags
}
