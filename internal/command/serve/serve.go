// Package serve answers for trusted bundles over HTTP, straight from their
// volumes: an OCI registry to pull from, a Helm repository, a model hub and
// files by name, with health and metrics beside them.
//
// Every block is hashed before a byte of it leaves; a bad one ends the answer
// so that it cannot look complete. The package writes nothing to disk and takes
// nothing from clients.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
)

// Verb names this verb in events.
const Verb = "serve"

const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second // of a whole request; none has a large body
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	drainTime     = 30 * time.Second // given to running answers at shutdown
)

// Options says what to serve and where.
type Options struct {
	Paths   []string // bundle directories or heads
	Keys    []string // public key files; one signature by one of them makes a bundle trusted
	Listen  string   // host:port; port 0 takes a free one
	TLSCert string   // PEM files; both or none
	TLSKey  string
	Drain   time.Duration // for running answers at shutdown; default 30 s

	AllowExpired bool // serve a bundle although its statement has expired
}

// Result is how serving ended.
type Result struct {
	Address string // that was listened on
}

// Run serves until ctx ends, then lets running answers finish and returns nil.
// The Start event carries the address in Fields["address"] once connections
// are accepted.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	sink = event.Named(sink, Verb)
	bundles, err := cargo.OpenAll(ctx, opt.Paths, opt.Keys, cargo.Options{AllowExpired: opt.AllowExpired}, sink)
	if err != nil {
		return Result{}, err
	}
	defer bundles.Close()
	handler, err := New(bundles, sink)
	if err != nil {
		return Result{}, err
	}
	listener, err := openListener(ctx, opt)
	if err != nil {
		return Result{}, err
	}
	res := Result{Address: listener.Addr().String()}
	sink.Emit(startedEvent(opt, res, bundles))
	err = serveUntilDone(ctx, handler, listener, opt)
	sink.Emit(event.Event{Verb: Verb, Kind: event.End, Message: "stopped"})
	if err == nil {
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Message: "stopped", Fields: map[string]any{"address": res.Address}})
	}
	return res, err
}

func startedEvent(opt Options, res Result, bundles cargo.Bundles) event.Event {
	scheme := "http"
	if opt.TLSCert != "" {
		scheme = "https"
	}
	names := make([]string, len(bundles))
	for i, b := range bundles {
		names[i] = b.Files().Name
	}
	return event.Event{Verb: Verb, Kind: event.Start, Message: "serving on " + scheme + "://" + res.Address,
		Fields: map[string]any{"address": res.Address, "url": scheme + "://" + res.Address, "bundles": names}}
}

func openListener(ctx context.Context, opt Options) (net.Listener, error) {
	if (opt.TLSCert == "") != (opt.TLSKey == "") {
		return nil, errors.New("starting TLS: a certificate and its key are needed together")
	}
	var conf *tls.Config
	if opt.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(opt.TLSCert, opt.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("reading TLS certificate: %w", err)
		}
		conf = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", opt.Listen, err)
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	return l, nil
}

func serveUntilDone(ctx context.Context, h *Handler, l net.Listener, opt Options) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(io.Discard, "", 0), // what matters is an event
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	h.Drain()
	patience := opt.Drain
	if patience == 0 {
		patience = drainTime
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if srv.Shutdown(limit) != nil {
		_ = srv.Close() // their time is up; an answer cut short cannot look complete
	}
	<-done
	return nil
}
