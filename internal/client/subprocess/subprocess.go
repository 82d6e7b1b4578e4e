// Package subprocess starts processes of this program that do one hostile piece of work for
// it, such as rendering a chart: what brings such a process down harms nothing else.
//
// A process is told everything over its standard input. It has no environment, and what it
// may use it bounds itself.
package subprocess

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

const (
	programName = "caisson" // what a process is called, whatever its file is
	maxLastWord = 16 << 10  // bytes kept of its error stream
)

// Process is a process as the program sees it that started it.
type Process struct {
	In  io.WriteCloser // its standard input
	Out io.Reader      // its standard output

	cmd  *exec.Cmd
	last *lastWord
}

// Start starts a process. The caller ends it with End.
func Start(command []string) (*Process, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Args[0] = programName
	cmd.Env = []string{} // nothing of the operator's
	cmd.Dir = "/"
	p := &Process{cmd: cmd, last: &lastWord{max: maxLastWord}}
	cmd.Stderr = p.last
	var err error
	if p.In, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.Out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return p, cmd.Start()
}

// Kill ends the process at once. It may be called from any goroutine.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Forget forgets what the process said on its error stream.
func (p *Process) Forget() { p.last.forget() }

// End ends the process and says, of one that ended by itself, why.
func (p *Process) End() error {
	_ = p.In.Close()
	p.Kill() // or it would wait for somebody to read
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w%s", err, p.last.said())
	}
	return nil
}

// lastWord keeps the beginning of what is written to it.
type lastWord struct {
	mu   sync.Mutex
	kept bytes.Buffer
	max  int
}

func (w *lastWord) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept.Write(p[:min(len(p), max(w.max-w.kept.Len(), 0))])
	return len(p), nil
}

func (w *lastWord) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept.Reset()
}

// said is the first line of an error stream: Go's own word for why it ended.
func (w *lastWord) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(w.kept.String()), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}
