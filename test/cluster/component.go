package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics, as in the upstream binaries
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric, as in the upstream binaries
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
)

// components are the upstream programs inside this binary, by the name each
// has upstream, and the stand-in for operators. Each takes its own name and arguments as a program would and
// returns the exit code.
var components = map[string]func(args []string) int{
	"etcd":                    runEtcd,
	"kube-apiserver":          serverCommand(apiserver.NewAPIServerCommand),
	"kube-controller-manager": serverCommand(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          serverCommand(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubelet":                 serverCommand(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kube-proxy":              serverCommand(proxy.NewProxyCommand),
	"kwok":                    runKwok,
	"kubectl":                 runKubectl,
	pretendOperators:          runPretendOperators,
}

// serverCommand runs a Kubernetes server the way its own main does. The
// command reads os.Args.
func serverCommand(newCommand func() *cobra.Command) func([]string) int {
	return func(args []string) int {
		os.Args = args
		return cli.Run(newCommand())
	}
}

func runEtcd(args []string) int {
	etcdmain.Main(args)
	return 0
}

func runKubectl(args []string) int {
	os.Args = args
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// runKwok follows the main function of sigs.k8s.io/kwok/cmd/kwok.
func runKwok(args []string) int {
	os.Args = args
	// Kubernetes packages leave a non-boolean "version" flag in
	// pflag.CommandLine; cobra would merge it into kwok's flags and fail.
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ExitOnError)
	global := pflag.NewFlagSet("global", pflag.ContinueOnError)
	global.ParseErrorsAllowlist.UnknownFlags = true
	global.Usage = func() {}
	ctx, _ := kwoklog.InitFlags(context.Background(), global)
	ctx, err := kwokconfig.InitFlags(ctx, global)
	if err == nil {
		command := kwok.NewCommand(ctx)
		command.PersistentFlags().AddFlagSet(global)
		err = command.ExecuteContext(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}
