package resolve

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/event"
)

// models collects what the components want of each model at one commit.
type models struct {
	mu   sync.Mutex
	refs map[string]*wantedModel
}

// wantedModel is one repository at one commit and all that is wanted of it.
type wantedModel struct {
	model      *hub.Model
	name       string // the first one that the stack gives it
	revision   string // that of the same model of the stack
	order      [2]int // of that
	at         stackField
	components map[string]bool
	files      map[string]wantedFile // by path
	serve      map[string]bool
	allow      map[string]string // reasons by path
	leftOut    map[string]string // reasons by path
	extras     []lock.ModelExtra
}

// wantedFile is a file to carry: of the repository, or from another address.
type wantedFile struct {
	hub.File
	url string // empty: the repository has it
}

// resolveModel reads one model's listing and notes which files are wanted. What two
// components want of one commit becomes one item.
func (s *session) resolveModel(ctx context.Context, i, j int) {
	comp := &s.stack.Components[i]
	m := &comp.Models[j]
	w := &wantedModel{order: [2]int{i, j}, at: stackField{
		field: fmt.Sprintf("components[%d].models[%d]", i, j),
		what:  fmt.Sprintf("component %s: model %s", comp.Name, m.Name),
	}}
	w.components, w.serve = map[string]bool{comp.Name: true}, map[string]bool{m.Serve: true}
	if err := s.chooseModel(ctx, m, w); err != nil {
		s.addProblem(w.at, err)
		return
	}
	if err := s.models.addWanted(w); err != nil {
		s.addProblem(w.at, err)
	}
}

// chooseModel fills in what the stack wants of a model's files.
func (s *session) chooseModel(ctx context.Context, m *stack.Model, w *wantedModel) (err error) {
	if w.model, err = s.readListing(ctx, m.Source, m.Revision); err != nil {
		return err
	}
	w.name, w.revision = m.Name, revisionOf(m.Revision)
	chosen, err := chooseFiles(w.model.Files, m)
	if err != nil {
		return err
	}
	w.files, w.leftOut, w.allow = map[string]wantedFile{}, chosen.leftOut, map[string]string{}
	for _, f := range chosen.files {
		w.files[f.Path] = wantedFile{File: f}
	}
	for _, a := range m.Allow {
		w.allow[a.File] = a.Reason
	}
	for k := range m.Extras {
		if err := s.addExtra(ctx, w, &m.Extras[k]); err != nil {
			return fmt.Errorf("extra %s: %w", m.Extras[k].Path, err)
		}
	}
	return nil
}

// revisionOf is the revision that the stack asks for.
func revisionOf(said string) string {
	if said == "" {
		return "main"
	}
	return said
}

// readListing reads what a revision of a repository holds, each once.
func (s *session) readListing(ctx context.Context, source, revision string) (*hub.Model, error) {
	revision = revisionOf(revision)
	repository := strings.TrimPrefix(source, "hf://")
	return s.infos.do(strings.ToLower(repository)+"@"+revision, func() (*hub.Model, error) {
		m, err := s.hub.Info(ctx, repository, revision)
		if err == nil && m.Terms.Gated != "" && !s.hub.HasToken() {
			s.reportGate(m)
		}
		return m, err
	})
}

// reportGate says that a model may be refused. A mirror repeats the gate of its upstream
// and may let everybody in.
func (s *session) reportGate(m *hub.Model) {
	s.events.Emit(event.Event{
		Verb: verb, Kind: event.Info, Item: "hf://" + m.ID,
		Message: fmt.Sprintf("model %s is gated: its owner lets in %s; no token was given, so it may be refused",
			m.ID, m.Terms.LetsIn()),
	})
}

// addExtra adds a file by URL, or the files of another model in a folder.
func (s *session) addExtra(ctx context.Context, w *wantedModel, e *stack.ModelExtra) error {
	if e.Source == "" {
		sum := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(e.SHA256, "sha256:"))
		size, err := s.files.do(e.URL+" "+string(sum), func() (int64, error) {
			return s.proveFile(ctx, e.Path, e.URL, sum)
		})
		if err != nil {
			return err
		}
		return w.addFile(wantedFile{File: hub.File{Path: e.Path, Size: size, SHA256: sum}, url: e.URL})
	}
	other, err := s.readListing(ctx, e.Source, e.Revision)
	if err != nil {
		return err
	}
	chosen, err := chooseFiles(other.Files, &stack.Model{Include: e.Include, Allow: allowedBelow(w.allow, e.Path)})
	if err != nil {
		return err
	}
	w.addExtraModel(lock.ModelExtra{
		Path: e.Path, Repository: other.ID, Revision: revisionOf(e.Revision), Commit: other.Commit,
		License: other.License, Terms: describeTerms(other),
	})
	for _, f := range chosen.files {
		address := hub.FileURL(other.ID, other.Commit, f.Path)
		f.Path = e.Path + "/" + f.Path
		if err := w.addFile(wantedFile{File: f, url: address}); err != nil {
			return err
		}
	}
	return nil
}

// allowedBelow are the allowed files of a folder, as it calls them.
func allowedBelow(allow map[string]string, folder string) []stack.ModelAllow {
	var out []stack.ModelAllow
	for _, file := range slices.Sorted(maps.Keys(allow)) {
		if rest, ok := strings.CutPrefix(file, folder+"/"); ok {
			out = append(out, stack.ModelAllow{File: rest, Reason: allow[file]})
		}
	}
	return out
}

// addFile adds a file; another content under its name is an error.
func (w *wantedModel) addFile(f wantedFile) error {
	if have, ok := w.files[f.Path]; ok && (have.SHA256 != f.SHA256 || have.GitSHA1 != f.GitSHA1) {
		return fmt.Errorf("the model has another file %s", f.Path)
	}
	if have, ok := w.files[f.Path]; !ok || have.url != "" && f.url < have.url {
		w.files[f.Path] = f
	}
	return nil
}

// addWanted adds what one model of the stack wants to what others want of the same commit.
func (m *models) addWanted(w *wantedModel) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refs == nil {
		m.refs = map[string]*wantedModel{}
	}
	ref := modelRef(w.model)
	have := m.refs[ref]
	if have == nil {
		m.refs[ref] = w
		return nil
	}
	if have.model.ID != w.model.ID {
		return fmt.Errorf("the hub spells the repository both %q and %q", have.model.ID, w.model.ID)
	}
	return have.merge(w)
}

// merge adds what another model of the stack wants of the same commit, whichever
// of them came first.
func (w *wantedModel) merge(other *wantedModel) error {
	if slices.Compare(other.order[:], w.order[:]) <= 0 {
		w.model, w.name, w.revision, w.order, w.at = other.model, other.name, other.revision, other.order, other.at
		maps.Copy(w.allow, other.allow)
	}
	maps.Copy(w.components, other.components)
	maps.Copy(w.serve, other.serve)
	for file, reason := range other.allow {
		if w.allow[file] == "" {
			w.allow[file] = reason
		}
	}
	for file, why := range other.leftOut {
		if have := w.leftOut[file]; have == "" || why < have {
			w.leftOut[file] = why
		}
	}
	for _, e := range other.extras {
		w.addExtraModel(e)
	}
	for _, f := range other.files {
		if err := w.addFile(f); err != nil {
			return err
		}
	}
	return nil
}

// addExtraModel notes another model among the files, once.
func (w *wantedModel) addExtraModel(e lock.ModelExtra) {
	known := slices.ContainsFunc(w.extras, func(have lock.ModelExtra) bool {
		return have.Path == e.Path && have.Repository == e.Repository && have.Commit == e.Commit
	})
	if !known {
		w.extras = append(w.extras, e)
	}
}

func modelRef(m *hub.Model) string {
	return lock.HubHost + "/" + strings.ToLower(m.ID) + ":" + m.Commit
}

// finishModels turns what is wanted of each model into its item.
func (s *session) finishModels(ctx context.Context) error {
	var todo tasks
	for ref, w := range s.models.refs {
		todo.add(func(ctx context.Context) { s.finishModel(ctx, ref, w) })
	}
	return todo.run(ctx, s.workers)
}

func (s *session) finishModel(ctx context.Context, ref string, w *wantedModel) {
	s.resolveItem(lock.Model, ref, w.at, func() (int64, evidence, error) {
		m := w.describe()
		m.Platform = s.platforms[0].String()
		reader := newModelReader(s, w)
		if err := reader.pinModel(ctx, m); err != nil {
			return 0, evidence{}, err
		}
		if err := reader.judgeModel(m); err != nil {
			return 0, evidence{}, err
		}
		s.reportLeftOut(m)
		s.found.addItem(lock.Item{Ref: imageref.Ref(ref), Kind: lock.Model, Source: "hf://" + m.Repository + "@" + m.Commit, Content: m}, sortedKeys(w.components)...)
		var total int64
		for _, l := range m.Layers {
			total += l.Size
		}
		return total, evidence{}, nil
	})
}

// describe is the model in the lock, without its files.
func (w *wantedModel) describe() *lock.HubModel {
	return &lock.HubModel{
		Repository: w.model.ID, Revision: w.revision, Commit: w.model.Commit, License: w.model.License,
		Name: w.name, Terms: describeTerms(w.model), Extras: w.extras,
		ModelPack: true, Serve: w.servedAs(), LeftOut: w.groupLeftOut(),
	}
}

// describeTerms is what a model's card says beside its licence; nil where that is nothing.
func describeTerms(m *hub.Model) *lock.ModelTerms {
	t := m.Terms
	if t == (hub.Terms{}) {
		return nil
	}
	return &lock.ModelTerms{Name: t.LicenseName, Link: t.LicenseLink, Gated: t.Gated}
}

// servedAs is the use that demands most of what components say.
func (w *wantedModel) servedAs() string {
	for _, use := range []string{lock.ServeChat, lock.ServeCompletion, lock.ServeEmbed, lock.ServeNone} {
		if w.serve[use] {
			return use
		}
	}
	return ""
}

// groupLeftOut lists what is not carried, by reason. A file that another component
// wants is carried.
func (w *wantedModel) groupLeftOut() []lock.LeftOut {
	groups := map[string]*lock.LeftOut{}
	for _, f := range w.model.Files {
		why := w.leftOut[f.Path]
		if _, carried := w.files[f.Path]; carried || why == "" {
			continue
		}
		g := groups[why]
		if g == nil {
			g = &lock.LeftOut{Why: why}
			groups[why] = g
		}
		g.Count++
		g.Bytes += f.Size
		if len(g.Files) < lock.MaxLeftOutFiles {
			g.Files = append(g.Files, f.Path)
		}
	}
	var out []lock.LeftOut
	for _, why := range slices.Sorted(maps.Keys(groups)) {
		out = append(out, *groups[why])
	}
	return out
}
