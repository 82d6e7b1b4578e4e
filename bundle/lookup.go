package bundle

import (
	"bytes"
	"sort"
)

// lookup finds a blob of the table by its digest: four bytes a blob.
type lookup struct {
	table *Table
	order []int32
}

// newLookup requires that no blob occurs twice.
func newLookup(t *Table) (*lookup, error) {
	l := &lookup{t, make([]int32, t.Len())}
	for i := range l.order {
		l.order[i] = int32(i)
	}
	sort.Slice(l.order, func(i, j int) bool { return bytes.Compare(l.sumAt(i), l.sumAt(j)) < 0 })
	for i := 1; i < len(l.order); i++ {
		if bytes.Equal(l.sumAt(i-1), l.sumAt(i)) {
			return nil, formatError("%w: %s", ErrDuplicate, t.blobs[l.order[i]].digest.digest())
		}
	}
	return l, nil
}

func (l *lookup) sumAt(i int) []byte { return l.table.blobs[l.order[i]].digest[:] }

func (l *lookup) find(s sum) (int, bool) {
	i := sort.Search(len(l.order), func(i int) bool { return bytes.Compare(l.sumAt(i), s[:]) >= 0 })
	if i == len(l.order) || !bytes.Equal(l.sumAt(i), s[:]) {
		return 0, false
	}
	return int(l.order[i]), true
}

func (l *lookup) has(s sum) bool {
	_, ok := l.find(s)
	return ok
}
