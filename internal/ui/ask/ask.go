// Package ask turns what a person says into the Options of the verbs.
//
// Every command has one struct of answers, in the words of people: paths, and
// sizes, durations and numbers as text. Its Form lists what can be said, with the
// names and help that a flag and a field of a wizard share; Bind makes flags of
// it. Its Options checks all answers at once and returns what the verb takes, or
// an *Error that names each answer that cannot be used.
//
// The package reads no environment, opens no file and runs no verb.
package ask

import "github.com/spf13/pflag"

// Answers are what a person may say to one command.
type Answers interface{ Form() Form }

// Form lists what can be said to a command. Its fields fill the answers that it
// was taken from.
type Form struct {
	Arguments Arguments
	Fields    []Field
}

// Arguments are what is said without a name. Without Most there are none.
type Arguments struct {
	Words       string // what they are: "at least one PATH that holds a bundle"
	Least, Most int    // Most is Any where there is no end

	list   *[]string
	single *string
}

// Any number of arguments.
const Any = -1

// Set fills the answers.
func (a Arguments) Set(given []string) {
	if a.list != nil {
		*a.list = given
	}
	if a.single != nil && len(given) > 0 {
		*a.single = given[0]
	}
}

// count is how many arguments the answers hold.
func (a Arguments) count() int {
	n := 0
	if a.list != nil {
		n += len(*a.list)
	}
	if a.single != nil && *a.single != "" {
		n++
	}
	return n
}

// pathArguments are arguments without an end.
func pathArguments(list *[]string, words string) Arguments {
	return Arguments{Words: words, Least: 1, Most: Any, list: list}
}

// oneArgument is a single argument.
func oneArgument(text *string, words string) Arguments {
	return Arguments{Words: words, Least: 1, Most: 1, single: text}
}

// Field is one thing that can be said.
type Field struct {
	Name     string // of the flag and of the field
	Short    string // one letter for the flag, or empty
	Former   string // what the flag was called before, which goes on working
	Help     string // what is said stands in backquotes
	Default  string // what counts where nothing is said; empty where Help says it
	Required bool
	Hidden   bool // it means nothing any more and goes on working

	kind string // of the value, as the help shows it where Help does not
	// Exactly one of these is set. It points into the answers.
	text *string
	list *[]string
	flag *bool
	// check says why a text cannot be used.
	check func(string) error
	// commas says that one text of a list may hold several, with commas between.
	commas bool
}

// Said is what the answers hold for a field, and whether anything.
func (f Field) Said() (texts []string, ok bool) {
	switch {
	case f.text != nil && *f.text != "":
		return []string{*f.text}, true
	case f.list != nil && len(*f.list) > 0:
		return *f.list, true
	case f.flag != nil && *f.flag:
		return nil, true
	}
	return nil, false
}

// Label is how a call names the field: --key FILE.pub.
func (f Field) Label() string {
	value, _ := pflag.UnquoteUsage(&pflag.Flag{Usage: f.Help, Value: &textValue{field: f}})
	if f.Short != "" {
		return "-" + f.Short + " " + value
	}
	return "--" + f.Name + " " + value
}

func textField(to *string, name, help string) Field {
	return Field{Name: name, Help: help, kind: "string", text: to}
}

func listField(to *[]string, name, help string) Field {
	return Field{Name: name, Help: help, kind: "stringArray", list: to}
}

func flagField(to *bool, name, help string) Field {
	return Field{Name: name, Help: help, kind: "bool", flag: to}
}

func sizeField(to *string, name, help string) Field {
	return Field{Name: name, Help: help, kind: "SIZE", text: to, check: checkWith(parseSize)}
}

func spanField(to *string, name, help string) Field {
	return Field{Name: name, Help: help, kind: "DUR", text: to, check: checkWith(parseSpan)}
}

func durationField(to *string, name, help string) Field {
	return Field{Name: name, Help: help, kind: "duration", text: to, check: checkWith(parseDuration)}
}

func numberField(to *string, name, help string) Field {
	return Field{Name: name, Help: help, kind: "int", text: to, check: checkWith(parseNumber)}
}

// short gives a field's flag a letter.
func (f Field) short(letter string) Field { f.Short = letter; return f }

// required makes a field one without which the command cannot run.
func (f Field) required() Field { f.Required = true; return f }

// formerly keeps an older name working.
func (f Field) formerly(name string) Field { f.Former = name; return f }

// Fields that several commands have.

func keysField(to *[]string) Field {
	return listField(to, "key", "public key `FILE.pub` that bundles are trusted by; repeat for more")
}

func signingKeyField(to *string, help string) Field {
	return textField(to, "signing-key", help).formerly("key")
}

func expiredField(to *bool) Field {
	return flagField(to, "allow-expired", "go on although the bundle has expired")
}

func workersField(to *string, what string) Field {
	return numberField(to, "workers", what+" side by side, `N` at most (default: what fits this machine)")
}

func upstreamsField(to *string) Field {
	return textField(to, "upstreams", "`FILE` (kind Upstreams) that names the mirrors to use")
}

func siteField(to *string) Field {
	return textField(to, "site", "what the site is like: `SITE.yaml`")
}
