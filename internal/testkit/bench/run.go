package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// bench is one run of all comparisons.
type bench struct {
	caisson, tools, dir string
	before              string // an older caisson, or ""
	side                string // what this one is called
	workload, model     string
	rounds              int

	site     string // the program that runs an empty registry
	upstream *server
	addr     addresses
	images   []string // references below addr.Workload
}

// addresses is what the test upstream announces.
type addresses struct {
	Hub      string `json:"hub"`
	Control  string `json:"control"`
	Workload string `json:"workload"`
}

// startUpstream builds and starts the upstream with the generated workload, and makes
// the key, the stacks and the locks that every comparison uses.
func (b *bench) startUpstream(ctx context.Context) error {
	var err error
	for _, p := range []*string{&b.caisson, &b.dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if err := emptyDir(b.dir); err != nil {
		return err
	}
	upstream := filepath.Join(b.dir, "upstream")
	b.site = filepath.Join(b.dir, "distribution")
	for out, pkg := range map[string]string{upstream: "./internal/testkit/upstreamtest/upstream", b.site: "./internal/testkit/upstreamtest/distribution"} {
		if err := runQuietly(exec.CommandContext(ctx, "go", "build", "-o", out, pkg)); err != nil {
			return err
		}
	}
	fmt.Printf("generating %s of images and a model of %s\n", b.workload, b.model)
	b.upstream, err = spawnServer(ctx, func(line string) error { return json.Unmarshal([]byte(line), &b.addr) },
		upstream, "-dir", b.dir, "-workload", b.workload, "-model", b.model, "-digests", filepath.Join(os.TempDir(), "caisson-bench-digests.json"))
	if err != nil {
		return err
	}
	return b.prepareStacks(ctx)
}

var imageLine = regexp.MustCompile(`(?m)^ +- (bench\.acme\.example/\S+)$`)

// prepareStacks cuts the upstream's stack in two, images and model, and resolves both.
func (b *bench) prepareStacks(ctx context.Context) error {
	stack, err := os.ReadFile(filepath.Join(b.dir, "workload.yaml"))
	if err != nil {
		return err
	}
	for _, m := range imageLine.FindAllSubmatch(stack, -1) {
		b.images = append(b.images, string(m[1]))
	}
	if len(b.images) == 0 {
		return errors.New("the workload's stack names no image")
	}
	text := string(stack)
	models := strings.Index(text, "    models:")
	images := strings.Index(text, "    images:")
	if models < images || images < 0 {
		return errors.New("the workload's stack has another form")
	}
	stacks := map[string]string{"images": text[:models], "model": text[:images] + text[models:]}
	for name, s := range stacks {
		path := filepath.Join(b.dir, name+".yaml")
		if err := os.WriteFile(path, []byte(strings.Replace(s, "name: bench", "name: "+name, 1)), 0o644); err != nil {
			return err
		}
		if err := runQuietly(exec.CommandContext(ctx, b.caisson, "resolve", "-f", path, "-o", b.lockPath(name), "--upstreams", b.workPath("upstreams.yaml"), "--quiet")); err != nil {
			return err
		}
	}
	keys := exec.CommandContext(ctx, b.caisson, "keys", "generate", "--out", b.workPath("keys"), "--quiet")
	keys.Env = append(os.Environ(), password)
	return runQuietly(keys)
}

const password = "CAISSON_PASSWORD=bench"

func (b *bench) workPath(name string) string { return filepath.Join(b.dir, name) }
func (b *bench) lockPath(name string) string { return b.workPath(name + ".lock.yaml") }

func runQuietly(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %v: %w\n%s", cmd.Args, err, lastBytes(out, 4000))
	}
	return nil
}

// spawnServer starts argv and hands its first line of output to ready.
func spawnServer(ctx context.Context, ready func(line string) error, argv ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, stop: func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }}
	r := bufio.NewReaderSize(out, 1<<20)
	line, err := r.ReadString('\n')
	if err == nil {
		err = ready(strings.TrimSpace(line))
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	go io.Copy(io.Discard, r)
	return s, nil
}

// emptyRegistry starts a distribution registry of its own for one side.
func (b *bench) emptyRegistry(ctx context.Context) (*server, string, error) {
	dir := b.workPath("registry")
	if err := emptyDir(dir); err != nil {
		return nil, "", err
	}
	var addr string
	s, err := spawnServer(ctx, func(line string) error { addr = line; return nil }, b.site, "-dir", dir)
	return s, addr, err
}

// sentBytes asks the upstream how many payload bytes it has sent so far.
func (b *bench) sentBytes() (int64, error) {
	res, err := http.Get("http://" + b.addr.Control + "/_control/stats")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var s struct {
		Blobs map[string]struct {
			Bytes int64 `json:"bytes"`
		} `json:"blobs"`
	}
	err = json.NewDecoder(res.Body).Decode(&s)
	var sum int64
	for _, c := range s.Blobs {
		sum += c.Bytes
	}
	return sum, err
}

// findTool finds a program among the built ones, else on the PATH.
func (b *bench) findTool(name string) string {
	if p := filepath.Join(b.tools, name); b.tools != "" {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return name
}
