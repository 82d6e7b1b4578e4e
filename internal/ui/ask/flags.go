package ask

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Bind makes a flag of each field of a form.
func Bind(f *pflag.FlagSet, form Form) {
	for _, field := range form.Fields {
		bindField(f, field)
		if field.Hidden {
			_ = f.MarkHidden(field.Name)
		}
	}
}

func bindField(f *pflag.FlagSet, field Field) {
	switch {
	case field.flag != nil:
		f.BoolVarP(field.flag, field.Name, field.Short, false, field.Help)
	case field.list != nil && field.commas:
		f.StringSliceVarP(field.list, field.Name, field.Short, nil, field.Help)
	case field.list != nil:
		f.StringArrayVarP(field.list, field.Name, field.Short, nil, field.Help)
	default:
		bindText(f, field)
	}
}

func bindText(f *pflag.FlagSet, field Field) {
	said := new(string)
	f.VarP(&textValue{field: field, name: field.Name, saidBy: said}, field.Name, field.Short, field.Help)
	f.Lookup(field.Name).DefValue = field.Default
	if field.Former != "" {
		f.Var(&textValue{field: field, name: field.Former, saidBy: said}, field.Former, field.Help)
		_ = f.MarkHidden(field.Former)
	}
}

// textValue is a flag for a text. The former name of a flag is another one for the
// same text; saidBy is the name that filled it.
type textValue struct {
	field  Field
	name   string
	saidBy *string
}

// Set fills the answer, unless the other name of the flag says something else.
func (v *textValue) Set(text string) error {
	if v.field.check != nil {
		if err := v.field.check(text); err != nil {
			return err
		}
	}
	if *v.saidBy != "" && *v.saidBy != v.name && *v.field.text != text {
		return fmt.Errorf("--%s and --%s are the same flag, and --%s says %q",
			v.field.Former, v.field.Name, *v.saidBy, *v.field.text)
	}
	*v.saidBy, *v.field.text = v.name, text
	return nil
}

func (v *textValue) String() string {
	if v.field.text == nil {
		return ""
	}
	return *v.field.text
}

// Type is the kind of the value, as the help shows it.
func (v *textValue) Type() string { return v.field.kind }
