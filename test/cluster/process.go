package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// stopGrace is how long a process has between SIGTERM and SIGKILL.
const stopGrace = 10 * time.Second

// tailSize is how many bytes of a log an error quotes at most.
const tailSize = 4 << 10

// processes runs components of this binary as child processes, at most one
// per name. Its methods belong to one goroutine locked to its thread.
type processes struct {
	dir     string                  // DIR/NAME.log and DIR/NAME.pid are written here
	failed  context.CancelCauseFunc // called when a process ends by itself
	running map[string]*process
}

type process struct {
	name     string
	command  *exec.Cmd
	log      string
	stopping atomic.Bool
	ended    chan struct{} // closed once the process has been waited for
}

// start runs the component name. The child dies with this process, whatever
// ends it.
func (ps *processes) start(name string, args ...string) error {
	p := &process{name: name, log: filepath.Join(ps.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.command = &exec.Cmd{
		Path:   "/proc/self/exe",
		Args:   append([]string{name}, args...),
		Dir:    ps.dir,
		Env:    environment(ps.dir),
		Stdout: log,
		Stderr: log,
		// A group of its own keeps a terminal's interrupt away from it.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	ps.running[name] = p
	go p.wait(ps.failed)
	pid := strconv.Itoa(p.command.Process.Pid) + "\n"
	return os.WriteFile(filepath.Join(ps.dir, name+".pid"), []byte(pid), 0o600)
}

// environment is all that a component sees of ours: no proxy, no home
// directory with settings of its own.
func environment(home string) []string {
	return []string{"HOME=" + home, "TMPDIR=" + home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
}

// wait reports to failed if the process ends unasked.
func (p *process) wait(failed context.CancelCauseFunc) {
	err := p.command.Wait()
	if !p.stopping.Load() {
		failed(fmt.Errorf("%s ended (%s); end of %s:\n%s", p.name, state(err), p.log, tail(p.log)))
	}
	close(p.ended)
}

func state(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// stop ends the process called name, at the latest after stopGrace.
func (ps *processes) stop(name string) {
	p := ps.running[name]
	p.stopping.Store(true)
	p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopGrace):
		p.command.Process.Kill()
		<-p.ended
	}
	delete(ps.running, name)
}

// killAll ends all processes at once and returns when none is left.
func (ps *processes) killAll() {
	for _, p := range ps.running {
		p.stopping.Store(true)
		p.command.Process.Kill()
	}
	for _, p := range ps.running {
		<-p.ended
	}
	clear(ps.running)
}

// tail is the end of a log, from the start of a line.
func tail(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return []byte(err.Error())
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return []byte(err.Error())
	}
	b := make([]byte, min(info.Size(), tailSize))
	n, _ := f.ReadAt(b, info.Size()-int64(len(b)))
	b = b[:n]
	if int64(n) < info.Size() {
		b = b[bytes.IndexByte(b, '\n')+1:]
	}
	return b
}
