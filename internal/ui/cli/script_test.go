package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/caisson/caisson/internal/testkit/clustertest"
)

var update = flag.Bool("update", false, "write what commands print into the scripts that compare it")

// scripts is where the scripts lie, beside the repository's other test data.
const scripts = "../../../testdata/script"

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){
		"caisson": func() { os.Exit(Main()) },
	})
}

// tests ends the shared cluster after the last test.
type tests struct{ m *testing.M }

func (t tests) Run() int { return clustertest.Main(t.m) }

// TestScripts runs every script. See testdata/script/README.md for what a script
// can use beside the commands of testscript.
func TestScripts(t *testing.T) {
	testscript.Run(t, scriptParams(scripts, nil))
}

// TestClusterScripts runs the scripts that need a Kubernetes control plane, all
// against the same one.
func TestClusterScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	cluster := clustertest.Start(t)
	files, err := filepath.Glob(filepath.Join(scripts, "cluster", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files { // one after the other: they share the cluster
		t.Run("", func(t *testing.T) {
			p := scriptParams("", map[string]string{"KUBECONFIG": cluster.Kubeconfig, "KUBECTL": filepath.Join(cluster.Bin, "kubectl")})
			p.Files = []string{file}
			testscript.Run(t, p)
		})
	}
}

// scriptParams are the parameters of all script tests; env adds variables.
func scriptParams(dir string, env map[string]string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(e *testscript.Env) error { return setup(e, env) },
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"upstream": upstream,
			"fault":    fault,
			"advance":  advance,
			"fetched":  fetched,
			"registry": registry,
			"jsonhas":  jsonhas,
			"exitcode": exitcode,
			"flip":     flip,
			"cut":      cut,
			"freeport": freeport,
			"answers":  answers,
			"until":    until,
			"publish":  publish,
			"envsubst": envsubst,
		},
	}
}

// setup gives a script a home of its own, so that no credentials and no state of
// the machine reach it, and a password for keys.
func setup(e *testscript.Env, more map[string]string) error {
	home := filepath.Join(e.WorkDir, ".home")
	if err := os.Mkdir(home, 0o755); err != nil {
		return err
	}
	e.Setenv("HOME", home)
	e.Setenv("CAISSON_PASSWORD", "correct horse")
	e.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	e.Setenv("PATH", os.Getenv("CAISSON_TEST_TOOLS_BIN")+string(os.PathListSeparator)+e.Getenv("PATH"))
	for k, v := range more {
		e.Setenv(k, v)
	}
	return nil
}

// condition knows [tools]: the independent readers are built. Where tests must
// not be left out, that they are missing is an error.
func condition(name string) (bool, error) {
	if name != "tools" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	built := os.Getenv("CAISSON_TEST_TOOLS_BIN") != ""
	if !built && os.Getenv("CAISSON_TEST_REQUIRE") != "" {
		return false, fmt.Errorf("CAISSON_TEST_TOOLS_BIN is not set: run test/build.sh tools")
	}
	return built, nil
}
