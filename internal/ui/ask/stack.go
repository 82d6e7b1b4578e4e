package ask

import (
	"cmp"
	"fmt"
	"regexp"

	"github.com/caisson/caisson/internal/command/stacks"
)

// StackShow are the answers of caisson stack show.
type StackShow struct {
	Stack   string
	Profile []string
}

// Form lists what can be said.
func (a *StackShow) Form() Form {
	return Form{Arguments: oneArgument(&a.Stack, stackWords), Fields: []Field{profileField(&a.Profile, "show")}}
}

// stackWords say what names a stack.
const stackWords = "one stack: STACK.yaml, or the name of one that caisson stack list shows"

func profileField(to *[]string, does string) Field {
	f := listField(to, "profile", "`PROFILE` of the stack to "+does+", with what it needs; repeat for more (default: all)")
	f.commas = true
	return f
}

// StackShowOptions are what showing a stack needs.
type StackShowOptions struct {
	Stack    string
	Profiles []string
}

// Options checks the answers.
func (a *StackShow) Options() (StackShowOptions, error) {
	c := checkForm(a.Form())
	return finish(c, StackShowOptions{Stack: a.Stack, Profiles: a.Profile})
}

// StackLint are the answers of caisson stack lint.
type StackLint struct{ Stack string }

// Form lists what can be said.
func (a *StackLint) Form() Form { return Form{Arguments: oneArgument(&a.Stack, stackWords)} }

// Options checks the answers.
func (a *StackLint) Options() (string, error) { return finish(checkForm(a.Form()), a.Stack) }

// StackInit are the answers of caisson stack init.
type StackInit struct {
	Name    string
	Version string
	Extends string
	Profile []string
	Out     string
}

// Form lists what can be said.
func (a *StackInit) Form() Form {
	name := textField(&a.Name, "name", "`NAME` of the stack; its bundles are called after it").required()
	name.check = checkStackName
	version := textField(&a.Version, "version", "the stack's own `VERSION`")
	version.Default = firstVersion
	extends := textField(&a.Extends, "extends", "`STACK` to take over, one that caisson stack list shows")
	extends.Default = DefaultStack
	out := textField(&a.Out, "out", "the `STACK.yaml` to write").short("o")
	out.Default = DefaultStackFile
	return Form{Fields: []Field{
		name,
		version, extends, profileField(&a.Profile, "carry"), out,
	}}
}

// Options checks the answers.
func (a *StackInit) Options() (stacks.InitOptions, error) {
	c := checkForm(a.Form())
	return finish(c, stacks.InitOptions{
		Name: a.Name, Version: cmp.Or(a.Version, firstVersion), Extends: cmp.Or(a.Extends, DefaultStack),
		Profiles: a.Profile, Output: cmp.Or(a.Out, DefaultStackFile),
	})
}

// What stack init takes where nothing is said.
const (
	DefaultStack     = "sovereign-ai"
	DefaultStackFile = "stack.yaml"
	firstVersion     = "1.0.0"
)

var stackName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func checkStackName(s string) error {
	if !stackName.MatchString(s) {
		return fmt.Errorf("%q is not a name of lowercase letters, digits and dashes", s)
	}
	return nil
}

// StackUpgrade are the answers of caisson stack upgrade.
type StackUpgrade struct {
	Stack   string
	Lock    string
	Profile []string
}

// Form lists what can be said.
func (a *StackUpgrade) Form() Form {
	return Form{Arguments: oneArgument(&a.Stack, stackWords), Fields: []Field{
		textField(&a.Lock, "lock", "the `LOCK.yaml` that was resolved from it before").required(),
		profileField(&a.Profile, "compare"),
	}}
}

// StackUpgradeOptions are what comparing a stack with its lock needs.
type StackUpgradeOptions struct {
	Stack, Lock string
	Profiles    []string
}

// Options checks the answers.
func (a *StackUpgrade) Options() (StackUpgradeOptions, error) {
	c := checkForm(a.Form())
	return finish(c, StackUpgradeOptions{Stack: a.Stack, Lock: a.Lock, Profiles: a.Profile})
}
