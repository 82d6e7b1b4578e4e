package ask

import (
	"slices"

	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/command/report"
	"github.com/caisson/caisson/internal/command/support"
)

// Cluster says which cluster is meant, and where the journal's copy lies.
type Cluster struct{ Kubeconfig, Context, StateDir string }

// connectFields are those of commands that keep nothing.
func (a *Cluster) connectFields() []Field {
	return []Field{
		textField(&a.Kubeconfig, "kubeconfig", "`FILE` that leads to the cluster (default: KUBECONFIG, ~/.kube/config)"),
		textField(&a.Context, "context", "`NAME` of the context in it (default: the site's, or the current one)"),
	}
}

func (a *Cluster) fields() []Field {
	return append(a.connectFields(), stateDirField(&a.StateDir))
}

func stateDirField(to *string) Field {
	return textField(to, "state-dir", "`DIR` for the journal's copy (default ~/.local/state/caisson)")
}

func stackField(to *string) Field {
	return textField(to, "stack", "`NAME` of the stack, where several are installed")
}

func (a *Cluster) target(stack string) install.Target {
	return install.Target{Kubeconfig: a.Kubeconfig, Context: a.Context, StateDir: a.StateDir, Stack: stack}
}

// Preflight are the answers of caisson preflight.
type Preflight struct {
	Cluster
	Paths        []string
	Key          []string
	Site         string
	AllowExpired bool
}

// Form lists what can be said.
func (a *Preflight) Form() Form {
	return Form{
		Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle"),
		Fields:    append(a.fields(), a.Cluster.fields()...),
	}
}

func (a *Preflight) fields() []Field {
	return []Field{keysField(&a.Key).required(), siteField(&a.Site).required(), expiredField(&a.AllowExpired)}
}

// Options checks the answers.
func (a *Preflight) Options(p Program) (preflight.Options, error) {
	return finish(checkForm(a.Form()), a.options(p))
}

func (a *Preflight) options(p Program) preflight.Options {
	return preflight.Options{
		Paths: a.Paths, Keys: a.Key, Site: a.Site, Kubeconfig: a.Kubeconfig, Context: a.Context, Renderer: p.Renderer,
		AllowExpired: a.AllowExpired,
	}
}

// Plan are the answers of caisson plan: those of preflight, and the plan's file.
type Plan struct {
	Preflight
	Out string
}

// Form lists what can be said.
func (a *Plan) Form() Form {
	own := append(a.fields(), textField(&a.Out, "out", "the plan to write: `PLAN.json`").short("o").required())
	return Form{
		Arguments: pathArguments(&a.Paths, "at least one PATH that holds a bundle"),
		Fields:    slices.Concat(own, a.Cluster.fields()),
	}
}

// Options checks the answers.
func (a *Plan) Options(p Program) (preflight.Options, error) {
	opt := a.options(p)
	opt.Output = a.Out
	return finish(checkForm(a.Form()), opt)
}

// PlanShow are the answers of caisson plan show.
type PlanShow struct {
	Plan    string
	Rate    string
	Objects bool
}

// PlanShowOptions are what showing a plan needs.
type PlanShowOptions struct {
	Plan    string
	Rate    int64 // bytes per second that a node pulls; zero for the default
	Objects bool  // name every object that changes
}

// Form lists what can be said.
func (a *PlanShow) Form() Form {
	return Form{Arguments: oneArgument(&a.Plan, "one PLAN.json"), Fields: []Field{
		sizeField(&a.Rate, "rate", "how fast a node pulls, in bytes per second: `SIZE` (default 112MiB, 1 Gbit/s)"),
		flagField(&a.Objects, "objects", "name every object that is added, changed or removed"),
	}}
}

// Options checks the answers.
func (a *PlanShow) Options() (PlanShowOptions, error) {
	return finish(checkForm(a.Form()), PlanShowOptions{Plan: a.Plan, Rate: sizeOf(a.Rate), Objects: a.Objects})
}

// Install are the answers of caisson install.
type Install struct {
	Cluster
	Plan         string
	Bundle       []string
	Key          []string
	Component    []string
	Workers      string
	Timeout      string
	AllowExpired bool
	AllowOlder   bool
}

// Form lists what can be said.
func (a *Install) Form() Form {
	return Form{Arguments: oneArgument(&a.Plan, "one PLAN.json"), Fields: append(a.fields(),
		listField(&a.Bundle, "bundle", "`PATH` that holds the bundle now; repeat for more (default: as planned)"),
		listField(&a.Key, "key", "public key `FILE.pub` (default: those the plan was made with)"),
		listField(&a.Component, "component", "install this `COMPONENT` of the plan alone, as to repair it; repeat for more"),
		workersField(&a.Workers, "components"),
		durationField(&a.Timeout, "timeout", "`DUR` to wait for a component to become ready (default 15m)"),
		expiredField(&a.AllowExpired),
		flagField(&a.AllowOlder, "allow-older", "install although a newer bundle was installed before"),
	)}
}

// Options checks the answers.
func (a *Install) Options(p Program) (install.Options, error) {
	return finish(checkForm(a.Form()), install.Options{
		Target: a.target(""), Plan: a.Plan, Bundles: a.Bundle, Keys: a.Key, Components: a.Component, Workers: int(numberOf(a.Workers)),
		Timeout: durationOf(a.Timeout), AllowOlder: a.AllowOlder, AllowExpired: a.AllowExpired, Tool: p.Version,
		Renderer: p.Renderer,
	})
}

// Stack are the answers of caisson status and history: an installed stack.
type Stack struct {
	Cluster
	Stack string
}

// Form lists what can be said.
func (a *Stack) Form() Form { return Form{Fields: a.fields()} }

func (a *Stack) fields() []Field { return append(a.Cluster.fields(), stackField(&a.Stack)) }

// Options checks the answers.
func (a *Stack) Options() (install.Target, error) {
	return finish(checkForm(a.Form()), a.target(a.Stack))
}

// Rollback are the answers of caisson rollback.
type Rollback struct {
	Stack
	Component string
	install.UserObjectsChoice
}

// componentArgument is the argument of commands that take all components without it.
func componentArgument(to *string) Arguments {
	return Arguments{Words: "one COMPONENT", Most: 1, single: to}
}

// Form lists what can be said.
func (a *Rollback) Form() Form {
	return Form{Arguments: componentArgument(&a.Component), Fields: append(a.fields(), userObjectsFields(&a.UserObjectsChoice)...)}
}

// Options checks the answers.
func (a *Rollback) Options(p Program) (install.RollbackOptions, error) {
	c := checkForm(a.Form())
	c.userObjects(a.UserObjectsChoice)
	return finish(c, install.RollbackOptions{
		Target: a.target(a.Stack.Stack), Component: a.Component, Tool: p.Version, UserObjectsChoice: a.UserObjectsChoice,
	})
}

// Uninstall are the answers of caisson uninstall.
type Uninstall struct {
	Stack
	Component string
	Purge     bool
	Preview   bool
	install.UserObjectsChoice
}

// Form lists what can be said.
func (a *Uninstall) Form() Form {
	return Form{Arguments: componentArgument(&a.Component), Fields: slices.Concat(a.fields(), []Field{
		flagField(&a.Preview, "preview", "show what would go and what would stay, and change nothing"),
		flagField(&a.Purge, "purge", "forget the stack's journal in the cluster as well; caisson-system goes with the last one"),
	}, userObjectsFields(&a.UserObjectsChoice))}
}

// userObjectsFields choose what becomes of objects that users made.
func userObjectsFields(to *install.UserObjectsChoice) []Field {
	return []Field{
		flagField(&to.RemoveUserObjects, "remove-user-objects", "first delete the objects that users made of the stack's kinds"),
		flagField(&to.LeaveUserObjects, "leave-user-objects", "leave them, with nothing that serves them"),
	}
}

func (c *checked) userObjects(choice install.UserObjectsChoice) {
	if choice.RemoveUserObjects && choice.LeaveUserObjects {
		c.refuse("", "--remove-user-objects and --leave-user-objects exclude each other")
	}
}

// Options checks the answers.
func (a *Uninstall) Options(p Program) (install.UninstallOptions, error) {
	c := checkForm(a.Form())
	c.userObjects(a.UserObjectsChoice)
	return finish(c, install.UninstallOptions{
		Target: a.target(a.Stack.Stack), Component: a.Component, Purge: a.Purge, Tool: p.Version,
		UserObjectsChoice: a.UserObjectsChoice,
	})
}

// Prune are the answers of caisson prune.
type Prune struct {
	Stack
	Yes bool
}

// Form lists what can be said.
func (a *Prune) Form() Form {
	return Form{Fields: append(a.fields(), flagField(&a.Yes, "yes", "remove what is listed"))}
}

// Options checks the answers.
func (a *Prune) Options() (install.PruneOptions, error) {
	return finish(checkForm(a.Form()), install.PruneOptions{Target: a.target(a.Stack.Stack), Remove: a.Yes})
}

// Report are the answers of caisson report.
type Report struct {
	Stack
	Out    string
	Bundle []string
	Key    []string
}

// Form lists what can be said.
func (a *Report) Form() Form {
	return Form{Fields: append(a.fields(),
		textField(&a.Out, "out", "`DIR` for report.html and report.json").short("o").required(),
		listField(&a.Bundle, "bundle", "`PATH` that holds the bundle, for its ledger; repeat for more"),
		listField(&a.Key, "key", "public key `FILE.pub` that it is trusted by"),
	)}
}

// Options checks the answers.
func (a *Report) Options(p Program) (report.Options, error) {
	return finish(checkForm(a.Form()), report.Options{
		Output: a.Out, Kubeconfig: a.Kubeconfig, Context: a.Context, StateDir: a.StateDir, Stack: a.Stack.Stack,
		Bundles: a.Bundle, Keys: a.Key, Tool: p.Version,
	})
}

// Support are the answers of caisson support.
type Support struct {
	Cluster
	Out string
}

// Form lists what can be said.
func (a *Support) Form() Form {
	return Form{Fields: append(a.fields(),
		textField(&a.Out, "out", "the archive to write: `FILE.tar.gz`").short("o").required(),
	)}
}

// Options checks the answers.
func (a *Support) Options(p Program) (support.Options, error) {
	return finish(checkForm(a.Form()), support.Options{
		Output: a.Out, Kubeconfig: a.Kubeconfig, Context: a.Context, StateDir: a.StateDir, Tool: p.Version,
	})
}
