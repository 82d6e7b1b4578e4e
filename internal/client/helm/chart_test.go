package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"runtime"
	"sort"
	"strings"
	"testing"
)

// files is a chart in the making: paths below the chart's folder.
type files map[string]string

// pack makes a .tgz with everything below dir, in the order of the names.
func pack(tb testing.TB, dir string, f files, extra ...tar.Header) []byte {
	tb.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := tw.WriteHeader(&tar.Header{Name: dir + "/" + name, Mode: 0o644, Size: int64(len(f[name])), Typeflag: tar.TypeReg}); err != nil {
			tb.Fatal(err)
		}
		if _, err := tw.Write([]byte(f[name])); err != nil {
			tb.Fatal(err)
		}
	}
	for _, h := range extra {
		if err := tw.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func metadata(name string, more ...string) string {
	return "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n" + strings.Join(more, "\n") + "\n"
}

func load(tb testing.TB, f files) *Chart {
	tb.Helper()
	c, err := LoadArchive(pack(tb, "demo", f))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestLoadArchive(t *testing.T) {
	c := load(t, files{"Chart.yaml": metadata("demo", "appVersion: \"7\""), "templates/a.yaml": "a: 1\n"})
	if c.Name() != "demo" || c.Version() != "1.0.0" || c.Metadata().AppVersion != "7" {
		t.Errorf("loaded %s %s", c.Name(), c.Version())
	}
	config, err := c.Config()
	if want := `{"name":"demo","version":"1.0.0","apiVersion":"v2","appVersion":"7"}`; err != nil || config != want {
		t.Errorf("config %s, %v", config, err)
	}
}

func TestLoadArchiveRefuses(t *testing.T) {
	chart := files{"Chart.yaml": metadata("demo")}
	nested := pack(t, "leaf", files{"Chart.yaml": metadata("leaf")})
	for range maxNesting + 1 {
		nested = pack(t, "leaf", files{"Chart.yaml": metadata("leaf"), "charts/leaf.tgz": string(nested)})
	}
	many := files{"Chart.yaml": metadata("demo")}
	for i := range maxEntries + 1 {
		many[fmt.Sprintf("files/%d", i)] = ""
	}
	bomb := pack(t, "sub", files{"Chart.yaml": metadata("sub"), "zeros": strings.Repeat("\x00", 60<<20)})
	tests := map[string]struct {
		archive []byte
		want    error
		text    string
	}{
		"symlink":            {pack(t, "demo", chart, tar.Header{Name: "demo/values.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), ErrLink, "values.yaml"},
		"hard link":          {pack(t, "demo", chart, tar.Header{Name: "demo/x", Typeflag: tar.TypeLink, Linkname: "demo/Chart.yaml"}), ErrLink, "demo/x"},
		"device":             {pack(t, "demo", chart, tar.Header{Name: "demo/x", Typeflag: tar.TypeChar}), ErrLink, "demo/x"},
		"nesting":            {pack(t, "demo", files{"Chart.yaml": metadata("demo"), "charts/leaf.tgz": string(nested)}), ErrTooLarge, "deep"},
		"entries":            {pack(t, "demo", many), ErrTooLarge, "files"},
		"two bombs":          {pack(t, "demo", files{"Chart.yaml": metadata("demo"), "charts/a.tgz": string(bomb), "charts/b.tgz": string(bomb)}), ErrTooLarge, "unpacked"},
		"packed size":        {make([]byte, MaxArchiveSize+1), ErrTooLarge, "packed"},
		"not gzip":           {[]byte("hello"), nil, "opening archive"},
		"cut":                {pack(t, "demo", chart)[:40], nil, "archive"},
		"no Chart.yaml":      {pack(t, "demo", files{"values.yaml": ""}), nil, "Chart.yaml"},
		"bad Chart.yaml":     {pack(t, "demo", files{"Chart.yaml": "name: ../x\nversion: 1.0.0\n"}), nil, "validation"},
		"outside":            {pack(t, "demo", files{"Chart.yaml": metadata("demo"), "../../x": ""}), nil, "parent directory"},
		"missing dependency": {pack(t, "demo", files{"Chart.yaml": metadata("demo", "dependencies: [{name: gone, version: 1.0.0, repository: \"https://x.example\", condition: off}]")}), nil, "not packed: gone"},
	}
	for name, test := range tests {
		_, err := LoadArchive(test.archive)
		switch {
		case err == nil:
			t.Errorf("%s: accepted", name)
		case test.want != nil && !errors.Is(err, test.want):
			t.Errorf("%s: %v, want %v", name, err, test.want)
		case !strings.Contains(err.Error(), test.text):
			t.Errorf("%s: %v does not say %q", name, err, test.text)
		}
	}
}

func FuzzLoadArchive(f *testing.F) {
	f.Add(pack(f, "demo", files{"Chart.yaml": metadata("demo"), "templates/a.yaml": "{{ .Values.a }}"}))
	f.Add(pack(f, "demo", files{"Chart.yaml": metadata("demo"), "charts/sub.tgz": string(pack(f, "sub", files{"Chart.yaml": metadata("sub")}))}))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := LoadArchive(data)
		if err != nil {
			return
		}
		if c.Name() == "" || strings.ContainsAny(c.Name(), "/\\") {
			t.Errorf("accepted the name %q", c.Name())
		}
	})
}

// TestLoadArchiveFollowsFewAliases: Helm's loader decodes these files outside of
// the worker; an archive of a kilobyte may stand for gigabytes of values.
func TestLoadArchiveFollowsFewAliases(t *testing.T) {
	bomb := "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a,", 200) + "]\n"
	sub := string(pack(t, "sub", files{"Chart.yaml": metadata("sub"), "values.yaml": bomb}))
	for name, text := range map[string]string{
		"values.yaml": bomb, "./values.yaml": bomb, "Chart.lock": bomb, "requirements.yaml": bomb, "requirements.lock": bomb,
		"charts/sub/values.yaml": bomb, "charts/sub/charts/leaf/values.yaml": bomb, "charts\\values.yaml": bomb,
		"charts/sub.tgz": sub, "charts/sub.tgz/.": sub, "charts/a/charts/sub.tgz": sub,
	} {
		archive := pack(t, "demo", files{"Chart.yaml": metadata("demo"), name: text})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := LoadArchive(archive)
		runtime.ReadMemStats(&after)
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; !errors.Is(err, ErrTooLarge) || used > 100 {
			t.Errorf("%s: %d bytes packed, %d MiB allocated, %v", name, len(archive), used, err)
		}
	}
	if _, err := LoadArchive(pack(t, "demo", files{"Chart.yaml": metadata("demo") + bomb})); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Chart.yaml: %v", err)
	}
	load(t, files{"Chart.yaml": metadata("demo"), "values.yaml": "a: &a {b: c}\nd: *a\n", "templates/values.yaml": bomb, "files/values.yaml": bomb})
}
