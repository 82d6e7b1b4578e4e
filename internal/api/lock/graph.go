package lock

import (
	"slices"
	"sort"
)

// Cycle returns a circle in a graph of name → names it needs, starting and
// ending with the same name, or nil. Names the graph does not hold are passed
// over. Equal graphs give equal circles.
func Cycle(graph map[string][]string) []string {
	names := make([]string, 0, len(graph))
	for n := range graph {
		names = append(names, n)
	}
	sort.Strings(names)
	s := search{graph: graph, done: map[string]bool{}}
	for _, n := range names {
		if circle := s.searchFrom(n); circle != nil {
			return circle
		}
	}
	return nil
}

// search walks a graph depth first.
type search struct {
	graph map[string][]string
	done  map[string]bool
	path  []string
}

func (s *search) searchFrom(n string) []string {
	if i := slices.Index(s.path, n); i >= 0 {
		return append(slices.Clone(s.path[i:]), n)
	}
	if s.done[n] {
		return nil
	}
	s.path = append(s.path, n)
	for _, next := range s.graph[n] {
		if circle := s.searchFrom(next); circle != nil {
			return circle
		}
	}
	s.path = s.path[:len(s.path)-1]
	s.done[n] = true
	return nil
}
