// Command upstream runs the connected side's test upstream for other processes:
// it writes a stack and what belongs to it into a folder, prints one line of JSON
// with all addresses and serves until it is told to end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	dir           string
	exitWithStdin bool
	options       upstreamtest.Options
}

// run starts the upstream and returns when ctx ends or, if so asked, stdin does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	up, err := upstreamtest.Start(c.options)
	if err != nil {
		return err
	}
	return errors.Join(serve(ctx, c, up, stdin, stdout), up.Close())
}

func serve(ctx context.Context, c config, up *upstreamtest.Upstream, stdin io.Reader, stdout io.Writer) error {
	if err := up.WriteDir(c.dir); err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(up.Addresses()); err != nil {
		return fmt.Errorf("announcing the addresses: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.exitWithStdin {
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, stdin) // an error ends it like its end
		}()
	}
	<-ctx.Done()
	return nil
}

func parse(args []string) (config, error) {
	flags := flag.NewFlagSet("upstream", flag.ContinueOnError)
	dir := flags.String("dir", "", "existing `folder` for stack.yaml, upstreams.yaml and what belongs to them")
	size := flags.String("workload", "", "also serve generated images of this `size` in all, such as 4186MiB")
	model := flags.String("model", "", "`size` of the generated model; the workload's size if not given")
	images := flags.Int("images", 0, "`number` of generated images; 0 means 40")
	seed := flags.Uint64("seed", 1, "seed of the generated content")
	plain := flags.Bool("plain", false, "generate plain tar layers, not gzip ones")
	digests := flags.String("digests", "", "`file` that keeps the digests of generated content between starts")
	stdin := flags.Bool("exit-with-stdin", false, "end when standard input closes")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if *dir == "" || flags.NArg() > 0 {
		return config{}, errors.New("usage: upstream -dir DIR [-workload SIZE -digests FILE] [-exit-with-stdin]")
	}
	c := config{dir: *dir, exitWithStdin: *stdin}
	if *size == "" {
		return c, nil
	}
	if *model == "" {
		*model = *size
	}
	imageBytes, err := humanize.ParseBytes(*size)
	if err != nil {
		return config{}, fmt.Errorf("reading -workload: %w", err)
	}
	modelBytes, err := humanize.ParseBytes(*model)
	if err != nil {
		return config{}, fmt.Errorf("reading -model: %w", err)
	}
	c.options.Workload = &upstreamtest.WorkloadOptions{
		Seed: *seed, Images: *images, ImageBytes: int64(imageBytes), ModelBytes: int64(modelBytes),
		Plain: *plain, Digests: *digests,
	}
	return c, nil
}
