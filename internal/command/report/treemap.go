package report

import (
	"cmp"
	"slices"
)

// rect is a part of the drawing, in its own units.
type rect struct{ X, Y, W, H float64 }

// inset is r without a margin on each side and a head on top.
func (r rect) inset(margin, head float64) rect {
	return rect{r.X + margin, r.Y + head, max(0, r.W-2*margin), max(0, r.H-head-margin)}
}

// squarify divides r among weights, in the order given, which should be
// falling, so that the pieces are as near to squares as the order allows
// (Bruls, Huizing, van Wijk 2000, section 3). A weight of zero or less gets an
// empty piece.
func squarify(weights []float64, r rect) []rect {
	out := make([]rect, len(weights))
	var total float64
	var live []int
	for i, w := range weights {
		if w > 0 {
			total += w
			live = append(live, i)
		}
	}
	if total == 0 || r.W <= 0 || r.H <= 0 {
		return out
	}
	scale := r.W * r.H / total
	for len(live) > 0 {
		n := row(weights, live, scale, min(r.W, r.H))
		r = lay(out, weights, live[:n], scale, r)
		live = live[n:]
	}
	return out
}

// row is how many of the next pieces share a strip along the short side: as
// many as do not make the worst of them more oblong.
func row(weights []float64, live []int, scale, side float64) int {
	var sum float64
	best := 0.0
	for n, i := range live {
		sum += weights[i] * scale
		largest, smallest := weights[live[0]]*scale, weights[i]*scale
		worst := max(side*side*largest/(sum*sum), sum*sum/(side*side*smallest))
		if n > 0 && worst > best {
			return n
		}
		best = worst
	}
	return len(live)
}

// lay places one strip and returns what is left of r.
func lay(out []rect, weights []float64, strip []int, scale float64, r rect) rect {
	var sum float64
	for _, i := range strip {
		sum += weights[i] * scale
	}
	if r.W >= r.H {
		thick, y := sum/r.H, r.Y
		for _, i := range strip {
			h := weights[i] * scale / thick
			out[i] = rect{r.X, y, thick, h}
			y += h
		}
		return rect{r.X + thick, r.Y, max(0, r.W-thick), r.H}
	}
	thick, x := sum/r.W, r.X
	for _, i := range strip {
		w := weights[i] * scale / thick
		out[i] = rect{x, r.Y, w, thick}
		x += w
	}
	return rect{r.X, r.Y + thick, r.W, max(0, r.H-thick)}
}

// tile is one drawn piece of the composition.
type tile struct {
	rect
	Share
	Label bool // there is room for text
}

// group is one component of the composition with its tiles.
type group struct {
	rect
	Name  string
	Bytes int64
	Label bool
	Tiles []tile
}

// Size of the drawing.
const (
	mapWidth  = 1000
	mapHeight = 420
)

// treemap lays shares out: components, and the kinds within each.
func treemap(shares []Share) []group {
	groups := grouped(shares)
	weights := make([]float64, len(groups))
	for i, g := range groups {
		weights[i] = float64(g.Bytes)
	}
	for i, r := range squarify(weights, rect{0, 0, mapWidth, mapHeight}) {
		groups[i].rect = r
		groups[i].Label = r.W > 60 && r.H > 34
		groups[i].place()
	}
	return groups
}

func grouped(shares []Share) []group {
	at := map[string]int{}
	var groups []group
	for _, s := range shares {
		if s.Bytes <= 0 {
			continue
		}
		i, ok := at[s.Component]
		if !ok {
			i = len(groups)
			at[s.Component] = i
			groups = append(groups, group{Name: s.Component})
		}
		groups[i].Bytes += s.Bytes
		groups[i].Tiles = append(groups[i].Tiles, tile{Share: s})
	}
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return groups
}

func (g *group) place() {
	head := 2.0
	if g.Label {
		head = 20
	}
	weights := make([]float64, len(g.Tiles))
	for i, t := range g.Tiles {
		weights[i] = float64(t.Bytes)
	}
	for i, r := range squarify(weights, g.inset(2, head)) {
		g.Tiles[i].rect = r
		g.Tiles[i].Label = r.W > 70 && r.H > 18
	}
}
