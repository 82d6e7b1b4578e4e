// Command distribution runs an empty distribution registry on a free loopback
// port, for the demo, the benchmarks and scripts: the site's own registry. It
// prints HOST:PORT and serves until it is told to end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/sirupsen/logrus"
)

func main() {
	dir := flag.String("dir", "", "`folder` for the registry's files")
	sparse := flag.Bool("sparse", false, "accept an index whose manifests are not all there")
	flag.Parse()
	if err := run(*dir, *sparse); err != nil {
		fmt.Fprintln(os.Stderr, "distribution:", err)
		os.Exit(1)
	}
}

func run(dir string, sparse bool) error {
	if dir == "" {
		return errors.New("usage: distribution -dir DIR [-sparse]")
	}
	logrus.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handlers.NewApp(ctx, config(dir, sparse))}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Println(l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func config(dir string, sparse bool) *configuration.Configuration {
	c := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem": configuration.Parameters{"rootdirectory": dir},
		"cache":      configuration.Parameters{"blobdescriptor": "inmemory"},
	}}
	if sparse {
		c.Validation.Manifests.Indexes.Platforms = "none"
	}
	return c
}
