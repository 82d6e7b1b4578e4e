package gpu

import (
	"strconv"
	"strings"
)

// before compares versions of numbers and dots; a leading v and all behind a dash
// or plus do not count.
func before(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range max(len(x), len(y)) {
		if p, q := at(x, i), at(y, i); p != q {
			return p < q
		}
	}
	return false
}

func at(list []int, i int) int {
	if i < len(list) {
		return list[i]
	}
	return 0
}

func numbers(v string) []int {
	v = strings.TrimPrefix(v, "v")
	if i := strings.IndexAny(v, "-+ "); i >= 0 {
		v = v[:i]
	}
	var out []int
	for _, part := range strings.Split(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}

// branchOf is the branch of a driver version: 580 of 580.173.02, 0 where it is none.
func branchOf(version string) int { return at(numbers(version), 0) }
