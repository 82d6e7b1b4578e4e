// Command kube is Kubernetes for tests in one binary: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kwok and
// kubectl. The name it is called by, or its first argument, picks the program.
//
// "kube up" runs a whole cluster out of it on loopback, with fake GPU nodes.
// It needs no privileges, no container runtime, no network beyond loopback and
// no file besides itself. Pods on the fake nodes become Running and Ready, but
// nothing is ever pulled or executed.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	os.Exit(run(os.Args))
}

// run picks the program and returns its exit code.
func run(args []string) int {
	if program, ok := components[filepath.Base(args[0])]; ok {
		return program(args)
	}
	if len(args) < 2 {
		return usage()
	}
	if args[1] == "up" {
		return up(args[2:])
	}
	if program, ok := components[args[1]]; ok {
		return program(args[1:])
	}
	return usage()
}

func usage() int {
	names := []string{"up"}
	for name := range components {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "usage: kube %s [arguments]\n", strings.Join(names, "|"))
	return 2
}
