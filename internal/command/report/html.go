package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/bytesize"
)

//go:embed report.html.tmpl
var page string

// render writes the page. It needs no script and no file beside it.
func render(w io.Writer, r *Report) error {
	t, err := template.New("report").Funcs(functions).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, view{Report: r, Map: treemap(r.Composition), MapWidth: mapWidth, MapHeight: mapHeight, Chart: timeline(lastChange(r.Runs))})
}

// view is what the template sees.
type view struct {
	*Report
	Map                 []group
	MapWidth, MapHeight int
	Chart               *chart
}

var functions = template.FuncMap{
	"bytes":    bytesize.Text,
	"count":    func(n int) string { return humanize.Comma(int64(n)) },
	"time":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"duration": duration,
	"zero":     func(t time.Time) bool { return t.IsZero() },
	"short":    short,
	"join":     func(list []string) string { return strings.Join(list, ", ") },
	"fit":      fit,
	"percent":  percent,
	"operator": operator,
	"kindName": kindName,
	"stateName": func(s journal.State) string {
		return strings.ReplaceAll(string(s), "-", " ")
	},
	"tileText": func(t tile) string { return kindName(t.Kind) + " " + bytesize.Text(t.Bytes) },
	"px":       func(f float64) string { return fmt.Sprintf("%.1f", f) },
	"add":      func(a, b float64) float64 { return a + b },
	"what":     stepName,
}

func duration(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return "–"
	}
	d := to.Sub(from)
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func short(d digest.Digest) string {
	if d.Validate() != nil {
		return string(d)
	}
	return d.Algorithm().String() + ":" + d.Encoded()[:12] + "…"
}

// fit cuts text to what a width of the drawing can show.
func fit(s string, width float64) string {
	n := int(width / 7.5)
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	if n < 2 {
		return ""
	}
	return string([]rune(s)[:n-1]) + "…"
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

func operator(id journal.Operator) string {
	who := id.User
	if who == "" {
		who = id.AuthInfo
	}
	if id.Host != "" {
		who += " on " + id.Host
	}
	return who
}

func kindName(k lock.Kind) string { return k.Info().Title }

func stepName(s journal.Step) string {
	switch s.Kind {
	case journal.StepNamespace:
		return "namespace " + s.Name
	case journal.StepCredential:
		return "pull secret " + s.Name
	case journal.StepCRDs:
		return "custom resource definitions"
	case journal.StepRelease:
		return "release " + s.Name
	case journal.StepManifests:
		return "plain manifests"
	case journal.StepReady:
		return "waiting until ready"
	case journal.StepRollback:
		return "going back"
	}
	return string(s.Kind)
}
