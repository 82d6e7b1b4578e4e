package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func TestRunAnnouncesServesAndEndsWithStdin(t *testing.T) {
	dir := t.TempDir()
	in, closeIn := io.Pipe()
	announced, out := io.Pipe()
	done := make(chan error)
	args := []string{"-dir", dir, "-exit-with-stdin", "-workload", "1MiB", "-images", "5", "-digests", filepath.Join(dir, "digests.json")}
	go func() { done <- run(t.Context(), args, in, out) }()

	line, err := bufio.NewReader(announced).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var addr upstreamtest.Addresses
	if err := json.Unmarshal(line, &addr); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for _, name := range []string{"stack.yaml", "upstreams.yaml", "workload.yaml", "digests.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	res, err := http.Get("http://" + addr.Workload + "/v2/bench.acme.example/img04/manifests/v1")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	closeIn.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{}, {"-dir", "x", "y"}, {"-dir", "x", "-workload", "big"}, {"-dir", "x", "-workload", "1MiB", "-model", "big"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	c, err := parse([]string{"-dir", "x", "-workload", "4186MiB", "-model", "4GiB"})
	if err != nil || c.options.Workload.ImageBytes != 4186<<20 || c.options.Workload.ModelBytes != 4<<30 {
		t.Errorf("%+v, %v", c, err)
	}
}
