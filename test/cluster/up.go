package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// errStopped is why a cluster ends when it was asked to.
var errStopped = errors.New("stopped")

// up runs a cluster until it is stopped by SIGTERM, SIGINT or, if asked for,
// the end of standard input, and then ends every process of it.
//
// It prints the path of the administrator's kubeconfig, alone on a line of
// standard output, when the cluster has become usable, and again each time
// that it has become usable after SIGHUP restarted kube-apiserver. Progress
// goes to standard error.
//
// The exit code is 0 when stopped, 1 when a component ended by itself or the
// cluster was not usable in time, 2 for wrong usage.
func up(args []string) int {
	// A child gets its parent-death signal when the thread that started it
	// ends: this thread starts all of them and lasts as long as the process.
	runtime.LockOSThread()

	var o options
	flags := flag.NewFlagSet("kube up", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "state `directory`; must be empty or absent")
	flags.IntVar(&o.nodes, "nodes", 2, "`number` of fake GPU nodes")
	flags.TextVar(&o.address, "address", net.IPv4(127, 0, 0, 1), "`address` of the API")
	flags.Var(&o.kubelets, "kubelet", "issue keys for a real node `NAME=ADDRESS`; repeat for more")
	flags.BoolVar(&o.taint, "taint", false, "taint the nodes nvidia.com/gpu=present:NoSchedule")
	flags.BoolVar(&o.pretend, pretendOperators, false, "stand in for operators: webhooks, aggregated APIs, resources")
	flags.DurationVar(&o.timeout, "timeout", 3*time.Minute, "longest `time` to become usable")
	withStdin := flags.Bool("exit-with-stdin", false, "stop when standard input ends")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if o.dir == "" || o.nodes < 0 || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}

	ctx, stop := context.WithCancelCause(context.Background())
	restart := notify(stop)
	if *withStdin {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stop(errStopped)
		}()
	}
	if err := o.run(ctx, stop, restart); err != nil {
		fmt.Fprintln(os.Stderr, "kube up:", err)
		return 1
	}
	return 0
}

// notify arranges that SIGTERM and SIGINT stop the cluster and that each
// SIGHUP is seen on the returned channel.
func notify(stop context.CancelCauseFunc) <-chan os.Signal {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-end
		stop(errStopped)
	}()
	restart := make(chan os.Signal, 1)
	signal.Notify(restart, syscall.SIGHUP)
	return restart
}

// run brings a cluster up, serves restart requests until ctx ends, and takes
// the cluster down. It returns nil if ctx ended by errStopped.
func (o options) run(ctx context.Context, stop context.CancelCauseFunc, restart <-chan os.Signal) error {
	var err error
	if o.dir, err = emptyDir(o.dir); err != nil {
		return err
	}
	c, err := newCluster(o, stop)
	if err != nil {
		return err
	}
	defer c.processes.killAll()

	usable := c.start
	for {
		if err := within(ctx, o.timeout, usable); err != nil {
			return err
		}
		fmt.Println(c.kubeconfig("admin"))
		select {
		case <-ctx.Done():
			return cause(ctx)
		case <-restart:
			usable = c.restartAPIServer
		}
	}
}

// within runs f and explains why it ended: a timeout, the cause of ctx, or
// else its own error.
func within(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not usable after %v", timeout))
	defer cancel()
	err := f(limited)
	if err == nil || limited.Err() == nil {
		return err
	}
	if ctx.Err() != nil {
		return cause(ctx)
	}
	return fmt.Errorf("%w: %w", context.Cause(limited), err)
}

// cause is why ctx ended, nil if that was a wish.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// emptyDir makes dir if need be and returns its absolute path.
func emptyDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("state directory %s is not empty", dir)
	}
	return dir, nil
}
