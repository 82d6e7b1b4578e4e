// Command bench measures caisson beside skopeo, crane, oras and curl on one
// generated workload in one run, and prints what each cost and the ratios. bench
// scale measures resolve and plan of generated stacks instead. It judges nothing and
// fails only when a side fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	if err := realMain(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func realMain() error {
	if len(os.Args) > 1 && os.Args[1] == "sha256" { // the yardstick runs as a child, so that its cost can be told apart
		return sha256Pass(os.Args[2:])
	}
	if len(os.Args) > 1 && os.Args[1] == "scale" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		return measureScales(ctx, os.Args[2:])
	}
	var b bench
	flag.StringVar(&b.caisson, "caisson", "bin/caisson", "the `FILE` to measure")
	flag.StringVar(&b.before, "before", "", "an older caisson's `FILE`, measured in the same run")
	flag.StringVar(&b.tools, "tools", os.Getenv("CAISSON_TEST_TOOLS_BIN"), "`DIR` with crane and oras")
	flag.StringVar(&b.dir, "dir", "bench-out", "work `DIR`; emptied")
	flag.StringVar(&b.workload, "size", "4096MiB", "bytes of the image set")
	flag.StringVar(&b.model, "model", "4096MiB", "bytes of the model")
	flag.IntVar(&b.rounds, "rounds", 1, "rounds of verify; the quickest of each side is printed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return b.compareAll(ctx)
}
