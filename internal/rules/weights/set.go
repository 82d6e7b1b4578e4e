package weights

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/listing"
)

// Set is all safetensors of a model: headers and indexes by path.
type Set struct {
	Headers map[string]*Header
	Indexes map[string]*Index
}

// Flaw is something wrong between the files of a set.
type Flaw struct {
	File string // that says what is not so
	What string
	// Fatal says that a server of the model cannot load it whole. What is not
	// fatal is wrong in what the publisher says of the model, not in the model.
	Fatal bool
}

// Check holds the shards against their indexes. A wrong total_size is no fatal
// flaw: publishers take it from the sizes of the files, from before a part was
// cut out, or leave it out, and no loader looks at it.
func (s Set) Check() []Flaw {
	var out []Flaw
	named := s.named()
	for _, name := range slices.Sorted(maps.Keys(s.Indexes)) {
		out = append(out, s.checkIndex(name, named)...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if h := s.Headers[name]; len(h.Unknown) > 0 {
			what := fmt.Sprintf("has tensors of type %s, whose width is not known here", h.Unknown[0])
			out = append(out, Flaw{File: name, What: what})
		}
	}
	return out
}

func (s Set) checkIndex(name string, named map[string]bool) []Flaw {
	x := s.Indexes[name]
	var missing, misplaced []string
	absent := map[string]bool{}
	listed := map[string]int{} // tensors of each shard that the index names
	for _, tensor := range slices.Sorted(maps.Keys(x.Shards)) {
		shard := path.Join(path.Dir(name), x.Shards[tensor])
		h := s.Headers[shard]
		if h == nil {
			if !absent[shard] {
				missing = append(missing, shard)
			}
			absent[shard] = true
			continue
		}
		listed[shard]++
		if _, ok := h.Tensors[tensor]; !ok {
			misplaced = append(misplaced, tensor+" in "+shard)
		}
	}
	if len(missing) > 0 && len(listed) == 0 {
		return []Flaw{{File: name, What: "names shards of which none is carried"}}
	}
	var out []Flaw
	if len(missing) > 0 {
		out = append(out, Flaw{name, "names shards that are not carried: " + listing.Some(missing, 5), true})
	}
	if len(misplaced) > 0 {
		out = append(out, Flaw{name, "names tensors that are not there: " + listing.Some(misplaced, 5), true})
	}
	if len(missing) > 0 {
		return out
	}
	if idle := s.unnamedBeside(name, named); len(idle) > 0 {
		what := "does not name what lies beside it, and no loader reads: " + listing.Some(idle, 5)
		out = append(out, Flaw{File: name, What: what})
	}
	return append(out, s.checkAccount(name, listed)...)
}

// checkAccount compares what the index sums up with what its shards hold.
func (s Set) checkAccount(name string, listed map[string]int) []Flaw {
	var total int64
	var surplus []string
	for _, shard := range slices.Sorted(maps.Keys(listed)) {
		h := s.Headers[shard]
		total += h.Bytes()
		if extra := len(h.Tensors) - listed[shard]; extra > 0 {
			surplus = append(surplus, fmt.Sprintf("%d in %s", extra, shard))
		}
	}
	var out []Flaw
	if len(surplus) > 0 {
		out = append(out, Flaw{File: name, What: "does not name all tensors of its shards: " + listing.Some(surplus, 5)})
	}
	if said := s.Indexes[name].TotalSize; said >= 0 && said != total {
		what := fmt.Sprintf("says total_size %d; the tensors of its shards take %d bytes", said, total)
		out = append(out, Flaw{File: name, What: what})
	}
	return out
}

// unnamedBeside are safetensors in an index's folder that are called as its shards
// are, and that no index names.
func (s Set) unnamedBeside(name string, named map[string]bool) []string {
	var out []string
	for _, file := range slices.Sorted(maps.Keys(s.Headers)) {
		if path.Dir(file) == path.Dir(name) && !named[file] && strings.HasPrefix(path.Base(file), stemOf(name)) {
			out = append(out, file)
		}
	}
	return out
}

// stemOf is what the shards' names of an index begin with: model, of
// model.safetensors.index.json.
func stemOf(index string) string {
	stem, _, _ := strings.Cut(path.Base(index), ".safetensors.index.json")
	return stem
}

// named are the files that an index names.
func (s Set) named() map[string]bool {
	out := map[string]bool{}
	for name, x := range s.Indexes {
		for _, shard := range x.Shards {
			out[path.Join(path.Dir(name), shard)] = true
		}
	}
	return out
}

// loaded are the files that a server of the model reads: those that an index
// names, and in folders without an index one of each set of tensors.
func (s Set) loaded() []string {
	named := s.named()
	indexed := map[string]bool{}
	for name := range s.Indexes {
		indexed[path.Dir(name)] = true
	}
	var out []string
	others := map[string][]string{} // by folder
	for _, file := range slices.Sorted(maps.Keys(s.Headers)) {
		switch {
		case named[file]:
			out = append(out, file)
		case !indexed[path.Dir(file)]:
			others[path.Dir(file)] = append(others[path.Dir(file)], file)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(others)) {
		out = append(out, s.withoutRepeats(others[folder])...)
	}
	return out
}

var shardNumber = regexp.MustCompile(`[-.][0-9]{1,6}(-of-[0-9]{1,6})?\.safetensors$`)

// withoutRepeats drops files that hold the tensors of others once more, as at
// another precision: of two such sets the smaller one.
func (s Set) withoutRepeats(files []string) []string {
	sets := map[string][]string{}
	bytes := map[string]int64{}
	for _, file := range files {
		stem := shardNumber.ReplaceAllString(file, ".safetensors")
		sets[stem] = append(sets[stem], file)
		bytes[stem] += s.Headers[file].Bytes()
	}
	stems := slices.SortedFunc(maps.Keys(sets), func(a, b string) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), strings.Compare(a, b))
	})
	var out []string
	seen := map[string]bool{}
	for _, stem := range stems {
		if s.holdAny(sets[stem], seen) {
			continue
		}
		out = append(out, sets[stem]...)
		for _, file := range sets[stem] {
			for name := range s.Headers[file].Tensors {
				seen[name] = true
			}
		}
	}
	return out
}

func (s Set) holdAny(files []string, names map[string]bool) bool {
	for _, file := range files {
		for name := range s.Headers[file].Tensors {
			if names[name] {
				return true
			}
		}
	}
	return false
}
