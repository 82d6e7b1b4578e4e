package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sample is what one side of a comparison cost, summed over its processes.
type sample struct {
	name  string
	wall  time.Duration
	cpu   time.Duration // user + system of the tool alone
	other time.Duration // user + system of the registry or upstream meanwhile
	wrote int64         // bytes dirtied, from the kernel's block accounting
	sync  time.Duration // making durable what the tool left in memory, after it ended
	rss   int64         // peak of the largest process, bytes
}

// command is one process of a side.
type command struct {
	argv []string
	env  []string
}

// measureSide measures cmds one after the other as one side. Whatever they print is
// kept and shown only if one fails.
func measureSide(ctx context.Context, name string, other *server, syncDir string, cmds ...command) (sample, error) {
	if err := syncDisk(syncDir); err != nil {
		return sample{}, err
	}
	before, err := other.cpuTime()
	if err != nil {
		return sample{}, err
	}
	s := sample{name: name}
	for _, c := range cmds {
		if err := s.addCommand(ctx, c); err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	after, err := other.cpuTime()
	if err != nil {
		return s, err
	}
	s.other = after - before
	start := time.Now()
	err = syncDisk(syncDir)
	s.sync = time.Since(start)
	return s, err
}

func (s *sample) addCommand(ctx context.Context, c command) error {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	s.wall += time.Since(start)
	if err != nil {
		return fmt.Errorf("running %v: %w\n%s", c.argv, err, lastBytes(out.Bytes(), 4000))
	}
	one := measuredProcess("", 0, cmd.ProcessState)
	s.cpu += one.cpu
	s.wrote += one.wrote
	s.rss = max(s.rss, one.rss)
	return nil
}

// measuredProcess is what the kernel says of a process that has ended.
func measuredProcess(name string, wall time.Duration, p *os.ProcessState) sample {
	u := p.SysUsage().(*syscall.Rusage)
	return sample{name: name, wall: wall, cpu: p.UserTime() + p.SystemTime(), wrote: u.Oublock * 512, rss: u.Maxrss * 1024}
}

// syncDisk makes everything on dir's filesystem durable, so that one side does
// not pay for the other's dirty pages.
func syncDisk(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func lastBytes(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// server is a process that a side talks to; its CPU time is read from /proc.
type server struct {
	cmd  *exec.Cmd
	stop func()
}

func (s *server) cpuTime() (time.Duration, error) {
	if s == nil {
		return 0, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// Fields 14 and 15 of proc(5), counted after the command's closing parenthesis.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, errors.New("reading /proc stat: too few fields")
	}
	var user, sys int64
	if _, err := fmt.Sscan(string(f[11])+" "+string(f[12]), &user, &sys); err != nil {
		return 0, err
	}
	return time.Duration(user+sys) * time.Second / 100, nil
}
