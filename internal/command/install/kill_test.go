package install

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

const envChild = "CAISSON_INSTALL_TEST_CHILD" // Options as JSON: the test binary installs and exits

// child runs an installation in this process, printing a line for each event.
func child(options string) int {
	var opt Options
	if err := json.Unmarshal([]byte(options), &opt); err != nil {
		return 2
	}
	_, err := Run(context.Background(), opt, event.Func(func(e event.Event) {
		line, _ := json.Marshal(e)
		_, _ = os.Stdout.Write(append(line, '\n'))
	}))
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}

// killedAfter installs in another process and kills it after n events. It
// returns false if the process ended before.
func (l *lab) killedAfter(plan string, n int) (killed bool) {
	l.t.Helper()
	options, err := json.Marshal(l.options(plan))
	if err != nil {
		l.t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), envChild+"="+string(options))
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		l.t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		if n--; n == 0 {
			killed = true
			_ = command.Process.Kill()
		}
	}
	if err := command.Wait(); err != nil && !killed {
		l.t.Fatalf("the installation failed by itself: %v: %s", err, stderr.String())
	}
	return killed
}

func TestKilledInstallGoesOn(t *testing.T) {
	l := newLab(t)
	stack := three("kill", "1.0.0", 1)
	p := l.plan(stack, "")
	before := l.inventory()
	kills := 0
	for n := 1; l.killedAfter(p, n); n += 2 {
		kills++
		if run := l.lastRun(); run != nil && run.State != journal.Running {
			t.Errorf("after a kill the journal says %s", run.State)
		}
	}
	if kills < 5 {
		t.Errorf("only %d kills", kills)
	}
	t.Logf("%d kills", kills)
	r := l.install(p)
	for name, state := range r.Components {
		if state != journal.Skipped {
			t.Errorf("component %s is %s after the run that went through", name, state)
		}
	}
	j := l.journal()
	for _, run := range j.Runs[:len(j.Runs)-2] {
		if run.State != journal.Cancelled {
			t.Errorf("a killed run is %s in the journal", run.State)
		}
	}
	for _, c := range j.Installed {
		for _, rel := range c.Releases {
			if rel.Revision != 1 {
				t.Errorf("release %s is at revision %d; a clean install has 1", rel.Name, rel.Revision)
			}
		}
	}
	records, err := l.client.Records("kill-web").Names(t.Context(), nil)
	if err != nil || len(records) != 1 {
		t.Errorf("release records in kill-web: %q, %v", records, err)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.inventory(); !slices.Equal(got, before) {
		t.Errorf("kills left something behind:\n%s", diff(before, got))
	}
}

// lastRun is the newest run of the journal, or nil while there is none.
func (l *lab) lastRun() *journal.Run {
	uid, err := l.client.UID(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	j, err := archive.Open(l.client, uid, "").Load(l.t.Context(), l.name)
	if err != nil {
		return nil
	}
	return j.Last()
}

func TestInstallOutlivesTheAPIServersRestart(t *testing.T) {
	l := newLab(t)
	l.cluster = clustertest.Fresh(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: l.cluster.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	l.client = client
	p := l.plan(three("away", "1.0.0", 1), "")
	restart := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-restart
		l.cluster.RestartAPIServer(t)
	}()
	var once bool
	opt := l.options(p)
	opt.Workers, opt.Timeout = 1, 2*time.Minute
	_, err = Run(t.Context(), opt, event.Func(func(e event.Event) {
		if !once && e.Kind == event.Start && e.Item == "certs" {
			once = true
			close(restart)
		}
	}))
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil || len(s.Components) != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}
