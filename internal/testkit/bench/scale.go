package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// scales measures resolve and plan of generated stacks of several sizes: what an
// image costs must not depend on how many there are.
type scales struct {
	caisson, before string
	dir, cluster    string
	rounds          int

	kubeconfig string
	server     *scaleServer
}

func measureScales(ctx context.Context, args []string) error {
	var s scales
	var sizes string
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.StringVar(&s.caisson, "caisson", "bin/caisson", "the `FILE` to measure")
	flags.StringVar(&s.before, "before", "", "an older caisson's `FILE`, measured in the same run")
	flags.StringVar(&s.dir, "dir", "bench-out", "work `DIR`; emptied")
	flags.StringVar(&s.cluster, "cluster", os.Getenv("CAISSON_TEST_CLUSTER_BIN"), "`DIR` with the test control plane; without one, plan is left out")
	flags.StringVar(&sizes, "sizes", "150/25,1000/167", "`IMAGES/COMPONENTS` of the stacks")
	flags.IntVar(&s.rounds, "rounds", 2, "rounds; the one that took least CPU time is printed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	list, err := parseScales(sizes)
	if err != nil {
		return err
	}
	for _, p := range []*string{&s.caisson, &s.before, &s.dir} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	return s.measureAll(ctx, list)
}

func parseScales(text string) ([]scale, error) {
	var out []scale
	for one := range strings.SplitSeq(text, ",") {
		images, components, _ := strings.Cut(one, "/")
		i, err := strconv.Atoi(images)
		c, other := strconv.Atoi(components)
		if err := errors.Join(err, other); err != nil || c < 1 || i < c {
			return nil, fmt.Errorf("%q is not IMAGES/COMPONENTS with an image for each component", one)
		}
		out = append(out, scale{i, c})
	}
	return out, nil
}

// cost is what one command cost, its own processes included.
type cost struct {
	wall, cpu time.Duration
	memory    int64 // most bytes that they had at one time
}

// row is one command of one side at one size.
type row struct {
	verb, side string
	size       scale
	cost       cost
}

func (s *scales) measureAll(ctx context.Context, list []scale) error {
	if err := emptyDir(s.dir); err != nil {
		return err
	}
	if s.cluster != "" {
		stop, err := s.startCluster(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	var rows []row
	for _, size := range list {
		more, err := s.measureSize(ctx, size)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	printRows(os.Stdout, rows)
	return nil
}

func (s *scales) startCluster(ctx context.Context) (func(), error) {
	up, err := spawnServer(ctx, func(line string) error { s.kubeconfig = line; return nil },
		filepath.Join(s.cluster, "kube"), "up", "-dir", filepath.Join(s.dir, "cluster"), "-nodes", "2")
	if err != nil {
		return nil, err
	}
	return up.stop, nil
}

// measureSize measures both sides at one size.
func (s *scales) measureSize(ctx context.Context, size scale) ([]row, error) {
	charts, err := size.charts()
	if err != nil {
		return nil, err
	}
	server, stop, err := startScaleServer(charts)
	if err != nil {
		return nil, err
	}
	defer stop()
	s.server = server
	var rows []row
	for _, side := range []struct{ name, binary string }{{"caisson", s.caisson}, {"older caisson", s.before}} {
		if side.binary == "" {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s with %s\n", side.name, size)
		r := &scaleRun{scales: s, binary: side.binary, dir: filepath.Join(s.dir, strconv.Itoa(size.images)+side.name)}
		resolved, planned, err := r.measure(ctx, size)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{"resolve", side.name, size, resolved})
		if s.kubeconfig != "" {
			rows = append(rows, row{"plan", side.name, size, planned})
		}
	}
	return rows, nil
}

// scaleRun is one side at one size.
type scaleRun struct {
	*scales
	binary, dir string
}

func (r *scaleRun) path(name string) string { return filepath.Join(r.dir, name) }

func (r *scaleRun) measure(ctx context.Context, size scale) (resolved, planned cost, err error) {
	if err := r.writeFiles(size); err != nil {
		return cost{}, cost{}, err
	}
	resolved, err = r.cheapest(ctx, "resolve", "-f", r.path("stack.yaml"), "-o", r.path("lock.yaml"), "--upstreams", r.path("upstreams.yaml"), "--quiet")
	if err != nil || r.kubeconfig == "" {
		return resolved, cost{}, err
	}
	if err := r.pack(ctx); err != nil {
		return resolved, cost{}, err
	}
	planned, err = r.cheapest(ctx, "plan", r.path("out"), "--key", r.path("keys/caisson.pub"), "--site", r.path("site.yaml"),
		"-o", r.path("plan.json"), "--kubeconfig", r.kubeconfig, "--quiet")
	return resolved, planned, err
}

func (r *scaleRun) writeFiles(size scale) error {
	if err := emptyDir(r.dir); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"stack.yaml": size.stackText(),
		"upstreams.yaml": fmt.Sprintf("apiVersion: caisson.dev/v1alpha1\nkind: Upstreams\nrewrites:\n- {from: registry.acme.example, to: 'http://%[1]s'}\n- {from: %[2]q, to: 'http://%[1]s/charts'}\n",
			r.server.Address, chartsURL),
		"site.yaml": fmt.Sprintf("apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: scale}\nregistry: {mode: external, address: %q, plainHTTP: true}\nreferences: [rewrite]\n",
			r.server.Address),
	} {
		if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pack makes the bundle to plan with; it is not measured.
func (r *scaleRun) pack(ctx context.Context) error {
	keys := exec.CommandContext(ctx, r.binary, "keys", "generate", "--out", r.path("keys"), "--quiet")
	keys.Env = append(os.Environ(), password)
	if err := runQuietly(keys); err != nil {
		return err
	}
	pack := exec.CommandContext(ctx, r.binary, "pack", r.path("lock.yaml"), "-o", r.path("out"), signingFlag(ctx, r.binary), r.path("keys/caisson.key"),
		"--upstreams", r.path("upstreams.yaml"), "--quiet")
	pack.Env = append(os.Environ(), password)
	return runQuietly(pack)
}

// signingFlag is what pack calls the flag of the key that signs; it was --key once.
func signingFlag(ctx context.Context, binary string) string {
	help, _ := exec.CommandContext(ctx, binary, "pack", "--help").Output()
	if bytes.Contains(help, []byte("--signing-key")) {
		return "--signing-key"
	}
	return "--key"
}

// cheapest runs a command several times and keeps the run that took least CPU time.
func (r *scaleRun) cheapest(ctx context.Context, argv ...string) (cost, error) {
	var best cost
	for n := range max(r.rounds, 1) {
		c, err := runCosts(ctx, append([]string{r.binary}, argv...))
		if err != nil {
			return c, err
		}
		if n == 0 || c.cpu < best.cpu {
			best = c
		}
	}
	return best, nil
}

// runCosts runs a command to its end.
func runCosts(ctx context.Context, argv []string) (cost, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return cost{}, err
	}
	ended, most := make(chan struct{}), make(chan int64, 1)
	go func() { most <- mostMemory(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	c := cost{wall: time.Since(start)}
	close(ended)
	c.memory = <-most
	if err != nil {
		return c, fmt.Errorf("running %v: %w\n%s", argv, err, lastBytes(out.Bytes(), 4000))
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // of its children too
	return c, nil
}

// mostMemory looks again and again how much memory a process and those that it started
// have, until it has ended.
func mostMemory(pid int, ended <-chan struct{}) int64 {
	var most int64
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		most = max(most, memoryOf(pid))
		select {
		case <-ended:
			return most
		case <-tick.C:
		}
	}
}

// memoryOf is the memory that belongs to a process alone and to its children, 0 for
// one that is gone.
func memoryOf(pid int) int64 {
	var sum int64
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			sum += n << 10
		}
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			n, _ := strconv.Atoi(child)
			sum += memoryOf(n)
		}
	}
	return sum
}

// printRows prints what each command cost, what an image cost, and the ratio of this
// caisson to the older one at the same size.
func printRows(out io.Writer, rows []row) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\timages\tcomponents\twall s\tCPU s\tpeak memory\tCPU ms/image\tcaisson/it: wall\tCPU\tmemory\t")
	for _, r := range rows {
		this := r
		for _, other := range rows {
			if other.side == "caisson" && other.verb == r.verb && other.size == r.size {
				this = other
			}
		}
		fmt.Fprintf(w, "%s %s\t%d\t%d\t%.2f\t%.2f\t%s\t%.1f\t%s\t%s\t%.2f\t\n", r.side, r.verb, r.size.images, r.size.components,
			r.cost.wall.Seconds(), r.cost.cpu.Seconds(), humanize.IBytes(uint64(r.cost.memory)), r.cost.cpu.Seconds()*1000/float64(r.size.images),
			formatRatio(this.cost.wall, r.cost.wall), formatRatio(this.cost.cpu, r.cost.cpu), float64(this.cost.memory)/float64(r.cost.memory))
	}
	_ = w.Flush()
}
