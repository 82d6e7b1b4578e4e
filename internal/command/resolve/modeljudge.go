package resolve

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/weights"
)

// judgeModel holds the files of a model against each other and against what the
// stack says of it, and fills in what they say of its weights.
func (r *modelReader) judgeModel(m *lock.HubModel) error {
	if len(r.wrong) > 0 {
		slices.Sort(r.wrong)
		return fmt.Errorf("%w: %s", ErrWeights, listing.Some(r.wrong, 5))
	}
	accepted := map[string]bool{} // files whose allow was needed
	if err := r.judgeCode(accepted); err != nil {
		return err
	}
	if err := r.judgeShards(accepted); err != nil {
		return err
	}
	config := r.readConfig()
	if err := r.judgeImports(m, accepted); err != nil {
		return err
	}
	if m.IsServed() {
		if missing := r.lacksToServe(m); len(missing) > 0 {
			return fmt.Errorf("%w %s: %s", ErrServe, m.Serve, strings.Join(missing, "; "))
		}
	}
	r.describeWeights(m, config)
	r.noteAllowed(m, accepted)
	return nil
}

// judgeCode refuses files that run code and that the stack does not allow by name,
// whatever they are called.
func (r *modelReader) judgeCode(accepted map[string]bool) error {
	var refused []string
	for _, f := range r.files {
		code := weights.CodeByName(f.Path)
		if code == "" {
			code = r.code[f.Path]
		}
		switch {
		case code == "":
		case r.want.allow[f.Path] == "":
			refused = append(refused, f.Path+" ("+code+")")
		default:
			accepted[f.Path] = true
			r.warn("hf://"+r.want.model.ID, fmt.Sprintf("carrying %s, %s; allowed: %s", f.Path, code, r.want.allow[f.Path]))
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w: %s", ErrCode, listing.Some(refused, 5))
	}
	return nil
}

// judgeShards holds shards against their indexes.
func (r *modelReader) judgeShards(accepted map[string]bool) error {
	var wrong []string
	for _, flaw := range r.set.Check() {
		what := flaw.File + " " + flaw.What
		switch {
		case !flaw.Fatal:
			r.warn("hf://"+r.want.model.ID, what)
		case r.want.allow[flaw.File] == "":
			wrong = append(wrong, what)
		default:
			accepted[flaw.File] = true
			r.warn("hf://"+r.want.model.ID, what+"; allowed: "+r.want.allow[flaw.File])
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s", ErrWeights, listing.Some(wrong, 5))
	}
	return nil
}

// readConfig reads config.json; nil where there is none that can be read.
func (r *modelReader) readConfig() *weights.Config {
	text := r.texts["config.json"]
	if text == nil {
		return nil
	}
	c, err := weights.ParseConfig(text)
	if err != nil {
		r.warn("hf://"+r.want.model.ID, fmt.Sprintf("config.json: %v", err))
		return nil
	}
	return c
}

// judgeImports requires that the code which configurations name is carried.
// Servers that know the architecture need none of it; the stack then says so by
// allowing the file that names it.
func (r *modelReader) judgeImports(m *lock.HubModel, accepted map[string]bool) error {
	var wrong []string
	for _, file := range namingCode {
		absent := r.absentCode(file)
		if len(absent) == 0 {
			continue
		}
		what := file + " names code (auto_map) that is not carried: " + listing.Some(absent, 5)
		switch reason := r.want.allow[file]; {
		case reason != "":
			accepted[file] = true
			r.warn("hf://"+r.want.model.ID, what+"; allowed: "+reason)
		case m.IsServed():
			wrong = append(wrong, what)
		default:
			r.warn("hf://"+r.want.model.ID, what)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s", ErrImports, strings.Join(wrong, "; "))
	}
	return nil
}

// absentCode is the code that a file of the model names and that is not carried.
func (r *modelReader) absentCode(file string) (absent []string) {
	config, err := weights.ParseConfig(r.texts[file])
	if err != nil {
		return nil // said of config.json where it is read; others need none
	}
	for _, code := range config.Code {
		if !r.has(code) {
			absent = append(absent, code)
		}
	}
	return absent
}

// describeWeights fills in what headers and configuration say.
func (r *modelReader) describeWeights(m *lock.HubModel, config *weights.Config) {
	memory := r.set.Memory(config)
	m.Weights = lock.ModelWeights{Parameters: memory.Parameters, WeightsBytes: memory.Bytes, DType: string(memory.Type)}
	if config != nil {
		m.Weights.Quantization, m.Weights.Architecture = config.Quantization, config.Architecture
		m.Weights.MaxContext, m.Weights.KVBytesPerToken = config.MaxContext, config.KVBytesPerToken()
		m.Weights.AttentionHeads, m.Weights.KeyValueHeads = config.Heads, config.KVHeads
	}
	if len(r.set.Headers) == 0 {
		r.describeGGUF(m)
	}
}

// describeGGUF fills in what the heads of GGUF files say, where they are parts of one
// model; of a choice among several nothing is said.
func (r *modelReader) describeGGUF(m *lock.HubModel) {
	var w lock.ModelWeights
	stems := map[string]bool{}
	for _, f := range r.files {
		said := r.ggufs[f.Path]
		stem, isGGUF := ggufStem(f.Path)
		if !isGGUF {
			continue
		}
		w.WeightsBytes += f.Size
		if stem != "" {
			stems[stem] = true
		}
		if said == nil {
			continue
		}
		w.Parameters += said.Parameters
		if stem != "" && w.KVBytesPerToken == 0 {
			w.DType, w.Architecture = said.Precision, said.Architecture
			w.MaxContext, w.KVBytesPerToken = said.MaxContext, said.KVBytesPerToken()
			w.AttentionHeads, w.KeyValueHeads = said.Heads, said.KVHeads
		}
	}
	if len(stems) == 1 {
		m.Weights = w
	}
}

// noteAllowed records what the stack accepts of the carried files, and says which
// of its rules nothing needs.
func (r *modelReader) noteAllowed(m *lock.HubModel, accepted map[string]bool) {
	for _, file := range slices.Sorted(maps.Keys(r.want.allow)) {
		if accepted[file] {
			m.Allow = append(m.Allow, lock.ModelAllow{File: file, Reason: r.want.allow[file]})
			continue
		}
		r.warn("hf://"+r.want.model.ID, fmt.Sprintf(
			"allow of %s is not needed: nothing about the file has to be accepted; take it out of %s", file, r.stackName()))
	}
}

// reportLeftOut says what of the repository is not carried.
func (s *session) reportLeftOut(m *lock.HubModel) {
	for _, l := range m.LeftOut {
		s.events.Emit(event.Event{
			Verb: verb, Kind: event.Info, Item: "hf://" + m.Repository,
			Message: fmt.Sprintf("model %s: left out %s: %s", m.Repository, l, listing.Some(l.Files, 4)),
			Fields:  map[string]any{"why": l.Why, "count": l.Count, "bytes": l.Bytes},
		})
	}
}

// tokenizers are the sets of files any one of which is a tokenizer, for the
// libraries that servers read them with.
var tokenizers = [][]string{
	{"tokenizer.json"}, {"tokenizer.model"}, {"tekken.json"}, {"vocab.json", "merges.txt"}, {"vocab.txt"},
	{"spiece.model"}, {"sentencepiece.bpe.model"}, {"tiktoken.model"}, {"tokenizer.model.v3"}, {"tokenizer.model.v7"},
}

// lacksToServe says what the model lacks of what it takes to serve it as it is said
// to be.
func (r *modelReader) lacksToServe(m *lock.HubModel) []string {
	if len(r.set.Headers) == 0 && len(r.ggufs) > 0 {
		return r.lacksInGGUF(m.Serve)
	}
	var missing []string
	if r.countFiles(isWeights) == 0 {
		missing = append(missing, "there are no weights among its files")
	}
	if !r.has("config.json") && !r.has("params.json") {
		missing = append(missing, "config.json, which says of what architecture it is")
	}
	if !r.hasTokenizer() {
		missing = append(missing, "a tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt)")
	}
	if m.Serve == lock.ServeChat {
		missing = append(missing, r.lacksToChat()...)
	}
	return missing
}

// lacksInGGUF asks the same of GGUF files, which have all of it in them.
func (r *modelReader) lacksInGGUF(serve string) (missing []string) {
	tokenizer, template := false, false
	for _, said := range r.ggufs {
		if said == nil {
			return nil // nobody knows
		}
		tokenizer, template = tokenizer || said.HasTokenizer, template || said.HasTemplate
	}
	if !tokenizer {
		missing = append(missing, "a tokenizer in its GGUF file")
	}
	if serve == lock.ServeChat && !template {
		missing = append(missing, "a chat template in its GGUF file (tokenizer.chat_template)")
	}
	return missing
}

// lacksToChat asks for the template that makes one text of a conversation. Models
// with Mistral's own tokenizer have it there.
func (r *modelReader) lacksToChat() []string {
	if r.has("tekken.json") && r.has("params.json") || r.has("chat_template.jinja") ||
		r.hasTemplate("chat_template.json") || r.countFiles(isNamedTemplate) > 0 {
		return nil
	}
	if !r.has("tokenizer_config.json") {
		return []string{"tokenizer_config.json, where the chat template stands"}
	}
	if !r.hasTemplate("tokenizer_config.json") {
		return []string{"a chat template (chat_template in tokenizer_config.json, or chat_template.jinja)"}
	}
	return nil
}

func isNamedTemplate(file string) bool {
	return strings.HasPrefix(file, "additional_chat_templates/") && path.Ext(file) == ".jinja"
}

// isWeights says whether a file in the model's own folder is of its weights.
func isWeights(file string) bool {
	return inFolder(file) && (weights.IsSafetensors(file) || weights.IsGGUF(file) ||
		slices.Contains([]string{".bin", ".pt", ".pth"}, path.Ext(file)))
}

func (r *modelReader) has(file string) bool {
	_, ok := r.want.files[file]
	return ok
}

func (r *modelReader) countFiles(is func(string) bool) (n int) {
	for _, f := range r.files {
		if is(f.Path) {
			n++
		}
	}
	return n
}

func (r *modelReader) hasTokenizer() bool {
	return slices.ContainsFunc(tokenizers, func(set []string) bool {
		return !slices.ContainsFunc(set, func(f string) bool { return !r.has(f) })
	}) || r.countFiles(func(f string) bool { return inFolder(f) && path.Ext(f) == ".tiktoken" }) > 0
}

// hasTemplate says whether a JSON file has a chat template: one, or a list of
// them by name.
func (r *modelReader) hasTemplate(file string) bool {
	var doc struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if json.Unmarshal(r.texts[file], &doc) != nil {
		return false
	}
	var one string
	if json.Unmarshal(doc.Template, &one) == nil {
		return strings.TrimSpace(one) != ""
	}
	var named []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	return json.Unmarshal(doc.Template, &named) == nil && len(named) > 0 && named[0].Template != ""
}
