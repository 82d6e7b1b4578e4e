package resolve

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/weights"
)

// Why files of a model are not carried.
const (
	leftByStack    = "the stack's exclude names them"
	leftByInclude  = "the stack's include does not name them"
	leftDuplicates = "they repeat the weights in another format"
	leftTraining   = "they are the state of a training"
	leftUnsafe     = "they can run code when they are loaded, and the weights are there without them"
	leftCode       = "they are code, and the stack does not allow them by name"
)

// choice is what is carried of a repository, and why the rest is not.
type choice struct {
	files   []hub.File
	leftOut map[string]string // reasons by path
}

// chooseFiles applies a model's include, exclude and allow. Without include, it
// leaves out code, and what repeats safetensors in other formats. What can run code
// is carried only where allow names it.
func chooseFiles(files []hub.File, m *stack.Model) (*choice, error) {
	if err := matchEach(files, m); err != nil {
		return nil, err
	}
	p := newPicker(files, m)
	out := &choice{leftOut: map[string]string{}}
	var refused []string
	for _, f := range files {
		why, code := p.judgeFile(f.Path)
		switch {
		case code != "":
			refused = append(refused, f.Path+" ("+code+")")
		case why != "":
			out.leftOut[f.Path] = why
		default:
			out.files = append(out.files, f)
		}
	}
	if len(refused) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrCode, listing.Some(refused, 5))
	}
	if len(out.files) == 0 {
		return nil, fmt.Errorf("%w what include and exclude leave", ErrNoMatch)
	}
	if len(m.Include) == 0 {
		return out, out.requireOneGGUF()
	}
	return out, nil
}

// matchEach requires that every pattern of include and every file of allow is
// there.
func matchEach(files []hub.File, m *stack.Model) error {
	for _, pattern := range m.Include {
		if !slices.ContainsFunc(files, func(f hub.File) bool { return matchFile(pattern, f.Path) }) {
			return fmt.Errorf("include %q: %w", pattern, ErrNoMatch)
		}
	}
	for _, a := range m.Allow {
		if !isBelowExtra(m, a.File) && !slices.ContainsFunc(files, func(f hub.File) bool { return f.Path == a.File }) {
			return fmt.Errorf("allow %q: %w", a.File, ErrNoMatch)
		}
	}
	return nil
}

func isBelowExtra(m *stack.Model, file string) bool {
	return slices.ContainsFunc(m.Extras, func(e stack.ModelExtra) bool {
		return file == e.Path || strings.HasPrefix(file, e.Path+"/")
	})
}

// picker decides about the files of one repository.
type picker struct {
	model    *stack.Model
	safe     bool // there are weights that run no code
	shards   bool // there are safetensors
	aside    bool // all of which lie where copies usually do
	included bool
}

func newPicker(files []hub.File, m *stack.Model) *picker {
	p := &picker{model: m, aside: true, included: len(m.Include) > 0}
	for _, f := range files {
		switch {
		case weights.IsSafetensors(f.Path):
			p.safe, p.shards = true, true
			p.aside = p.aside && setAside(f.Path) != ""
		case weights.IsGGUF(f.Path):
			p.safe = true
		}
	}
	return p
}

// judgeFile says why a file is not carried, or what code it is that would be and
// that the stack does not allow; neither means that it is carried.
func (p *picker) judgeFile(name string) (why, code string) {
	allowed := slices.ContainsFunc(p.model.Allow, func(a stack.ModelAllow) bool { return a.File == name })
	code = weights.CodeByName(name)
	switch {
	case matchAny(p.model.Exclude, name):
		return leftByStack, ""
	case allowed && (code != "" || !p.included):
		return "", ""
	case p.included && !matchAny(p.model.Include, name):
		return leftByInclude, ""
	case p.included && allowed:
		return "", ""
	case p.included:
		return "", code
	}
	return p.judgeUsual(name, code)
}

// judgeUsual decides about a file that the stack does not name.
func (p *picker) judgeUsual(name, code string) (why, refused string) {
	switch {
	case code == weights.Python, code == weights.Script, code == weights.Native:
		return leftCode, ""
	case code != "" && p.safe:
		return leftUnsafe, ""
	case code != "":
		return "", code
	case !p.shards, weights.IsSafetensors(name) && p.aside:
		return "", ""
	}
	return setAside(name), ""
}

// duplicates are the patterns of files that repeat a repository's safetensors in
// another format.
var duplicates = []string{
	"original/", "onnx/", "openvino/", "coreml/", "metal/", "gguf/", "tflite/", "mlx/",
	"*.gguf", "*.ggml", "*.onnx", "*.onnx_data", "*.onnx.data", "*.msgpack", "*.tflite", "*.mlmodel", "*.mlpackage/",
	"openvino_*", "consolidated*.safetensors", "*.ort", "*.pte", "*.mnn", "*.rknn",
	"*.bin.index.json", "*.h5.index.json",
}

// training are the patterns of what a training leaves behind.
var training = []string{"checkpoint-*/", "global_step*/", "runs/", "*tfevents*", "wandb/"}

// setAside says why a file is left out where there are safetensors elsewhere.
func setAside(name string) string {
	switch {
	case matchAny(duplicates, name):
		return leftDuplicates
	case matchAny(training, name):
		return leftTraining
	}
	return ""
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchFile(p, name) })
}

var ggufShard = regexp.MustCompile(`-[0-9]{5}-of-[0-9]{5}$`)

// ggufStem is what the parts of one model in GGUF have in common, and "" for what
// goes with any of them: the part that reads pictures.
func ggufStem(file string) (stem string, isGGUF bool) {
	stem, isGGUF = strings.CutSuffix(file, ".gguf")
	if strings.Contains(strings.ToLower(path.Base(stem)), "mmproj") {
		return "", isGGUF
	}
	return ggufShard.ReplaceAllString(stem, ""), isGGUF
}

// requireOneGGUF wants a choice where a repository has the same weights several
// times over, at other precisions: together they may be ten times the model.
func (c *choice) requireOneGGUF() error {
	sizes := map[string]int64{}
	for _, f := range c.files {
		if stem, isGGUF := ggufStem(f.Path); isGGUF && stem != "" {
			sizes[stem+".gguf"] += f.Size
		}
	}
	if len(sizes) < 2 {
		return nil
	}
	var total int64
	for _, n := range sizes {
		total += n
	}
	return fmt.Errorf("%w: %s, %s together", ErrManyGGUF, listing.Some(sortedKeys(sizes), 5), bytesize.Text(total))
}
