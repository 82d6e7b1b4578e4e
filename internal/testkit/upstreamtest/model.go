package upstreamtest

import (
	"bytes"
	"maps"
	"path"
	"slices"
)

// Model is a repository that a test adds to the hub.
type Model struct {
	ID    string
	Files map[string][]byte // by path; formats of weights are kept in LFS, as on the hub
	Card  map[string]string // in place of license: apache-2.0
	// Gated is auto or manual: anybody may list the repository, as on the hub, and
	// only who has GatedToken read its files.
	Gated string
	Open  bool // the gate is only said, as by a mirror that lets everybody in
	// Commit is the name of its commit, where it is not the one that follows from the
	// files: a stand-in for a model of the hub that a stack pins.
	Commit string
}

// AddModel adds a model, whose branch main is its only commit, and returns that.
func (u *Upstream) AddModel(m Model) string {
	var files []hubFile
	for name, data := range m.Files {
		if isKeptInLFS(name) {
			files = append(files, newLFSFile(name, data))
		} else {
			files = append(files, newHubFile(name, data))
		}
	}
	token := ""
	if m.Gated != "" && !m.Open {
		token = GatedToken
	}
	commit := u.hub.addCommit(m.ID, token, files, "main")
	u.hub.describe(m.ID, m.Card, m.Gated)
	if m.Commit == "" {
		return commit
	}
	u.hub.renameCommit(m.ID, commit, m.Commit)
	return m.Commit
}

func isKeptInLFS(name string) bool {
	return slices.Contains([]string{".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".dat", ".zip"}, path.Ext(name))
}

// AddFile puts a file at a path of the file server.
func (u *Upstream) AddFile(path string, data []byte) {
	u.files.putFile(path, servedFile{content: bytes.NewReader(data), sha256: hexSum(data)})
}

// Safetensors makes a file of tensors, each a vector of two-byte numbers.
func Safetensors(seed string, elements map[string]int64) []byte {
	var tensors []tensor
	for _, name := range slices.Sorted(maps.Keys(elements)) {
		tensors = append(tensors, tensor{name, elements[name]})
	}
	return readAll(safetensorsBlob(NewStream(fixtureSeed, seed), tensors))
}
