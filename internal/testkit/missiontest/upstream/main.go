// Command upstream runs the connected side of the stack that comes with caisson, for the
// demo: real charts out of their Go modules, and stand-ins behind the real names of
// images and of the model. It writes upstreams.yaml into a folder, prints one line and
// serves until it is told to end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/caisson/caisson/internal/testkit/missiontest"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func main() {
	dir := flag.String("dir", "", "existing `folder` for upstreams.yaml and the charts")
	controllers := flag.String("controllers", "test/controllers", "`folder` whose go.mod says in which modules charts lie")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *controllers, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

// run starts the upstream and returns when ctx ends.
func run(ctx context.Context, dir, controllers string, stdout io.Writer) error {
	if dir == "" {
		return errors.New("usage: upstream -dir DIR [-controllers DIR]")
	}
	charts := filepath.Join(dir, "charts")
	if err := missiontest.PackCharts(controllers, charts, missiontest.Charts); err != nil {
		return err
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	if err := errors.Join(pushImages(address), missiontest.PushCharts(charts, address)); err != nil {
		return err
	}
	hub, err := upstreamtest.Start(upstreamtest.Options{})
	if err != nil {
		return err
	}
	return errors.Join(serve(ctx, dir, address, hub, stdout), hub.Close())
}

func serve(ctx context.Context, dir, address string, hub *upstreamtest.Upstream, stdout io.Writer) error {
	if err := missiontest.AddSmallModel(hub); err != nil {
		return err
	}
	upstreams := missiontest.UpstreamsYAML(address, hub.Addresses().Hub)
	if err := os.WriteFile(filepath.Join(dir, "upstreams.yaml"), upstreams, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(stdout, address)
	<-ctx.Done()
	return nil
}

// pushImages pushes a stand-in for every image: a file that says so.
func pushImages(address string) error {
	for _, i := range missiontest.Images {
		text := "This is a stand-in for " + i.Ref + "\n"
		img, err := missiontest.BuildImage(map[string][]byte{"STAND-IN": []byte(text)}, v1.Config{Entrypoint: []string{"/STAND-IN"}})
		if err != nil {
			return err
		}
		if err := missiontest.PushImage(address, i.Ref, img); err != nil {
			return err
		}
	}
	return nil
}
