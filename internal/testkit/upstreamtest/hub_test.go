package upstreamtest_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

type treeEntry struct {
	Type, OID, Path string
	Size            int64
	LFS             *struct {
		OID         string
		Size        int64
		PointerSize int
	}
}

var nextLink = regexp.MustCompile(`^<(.+)>; rel="next"$`)

// listTree follows a tree listing to its end and returns it with the number of
// pages.
func listTree(t *testing.T, url string) ([]treeEntry, int) {
	t.Helper()
	var all []treeEntry
	for pages := 1; ; pages++ {
		r := get(t, url)
		var page []treeEntry
		if err := json.Unmarshal(r.body, &page); err != nil || r.status != http.StatusOK {
			t.Fatalf("%s: status %d, %v", url, r.status, err)
		}
		all = append(all, page...)
		m := nextLink.FindStringSubmatch(r.header.Get("Link"))
		if m == nil {
			return all, pages
		}
		url = m[1]
	}
}

func TestTreeIsPagedAndProvesEveryFile(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	hub := "http://" + up.Addresses().Hub
	entries, pages := listTree(t, hub+"/api/models/acme/tiny-llm/tree/"+up.ModelCommit()+"?recursive=true&expand=false")
	if want := (len(entries) + 2) / 3; pages != want || pages < 4 {
		t.Fatalf("%d entries on %d pages", len(entries), pages)
	}
	files := 0
	for _, e := range entries {
		if e.Type == "file" {
			files++
			checkFile(t, hub+"/acme/Tiny-LLM/resolve/main/"+e.Path, e)
		}
	}
	if files != 14 {
		t.Fatalf("%d files", files)
	}
}

// checkFile fetches a file and holds it against its line in the listing.
func checkFile(t *testing.T, url string, e treeEntry) {
	t.Helper()
	r := get(t, url)
	if r.header.Get("X-Repo-Commit") == "" {
		t.Errorf("%s: no X-Repo-Commit", e.Path)
	}
	if e.LFS == nil {
		sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(r.body), r.body))
		if hex.EncodeToString(sum[:]) != e.OID || r.header.Get("ETag") != `"`+e.OID+`"` || int64(len(r.body)) != e.Size {
			t.Errorf("%s: git name, ETag or size differ", e.Path)
		}
		return
	}
	if r.status != http.StatusFound || r.header.Get("X-Linked-Etag") != `"`+e.LFS.OID+`"` || r.header.Get("X-Linked-Size") != fmt.Sprint(e.Size) {
		t.Errorf("%s: status %d, header %v", e.Path, r.status, r.header)
	}
	body := get(t, r.header.Get("Location")).body
	sum := sha256.Sum256(body)
	if hex.EncodeToString(sum[:]) != e.LFS.OID || int64(len(body)) != e.LFS.Size {
		t.Errorf("%s: hash or size differ", e.Path)
	}
}

func TestTreeOfOneFolder(t *testing.T) {
	up := start(t, upstreamtest.Options{HubPage: 100})
	entries, _ := listTree(t, "http://"+up.Addresses().Hub+"/api/models/acme/Tiny-LLM/tree/main/original")
	var paths []string
	for _, e := range entries {
		paths = append(paths, e.Type+" "+e.Path)
	}
	want := "file original/consolidated.00.pth,file original/params.json,directory original/tokenizer"
	if got := strings.Join(paths, ","); got != want {
		t.Fatalf("got %s", got)
	}
}

func TestModelInfo(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	for _, path := range []string{"/api/models/ACME/tiny-llm?blobs=true", "/api/models/acme/tiny-llm/revision/main?blobs=true"} {
		var info struct {
			ID, SHA  string
			Siblings []struct {
				RFilename, BlobID string
				Size              int64
				LFS               *struct{ SHA256 string }
			}
		}
		if err := json.Unmarshal(get(t, "http://"+up.Addresses().Hub+path).body, &info); err != nil {
			t.Fatal(err)
		}
		if info.ID != upstreamtest.ModelID || info.SHA != up.ModelCommit() || len(info.Siblings) != 14 {
			t.Fatalf("%s: %s at %s with %d files", path, info.ID, info.SHA, len(info.Siblings))
		}
		if s := info.Siblings[4]; s.BlobID == "" || s.Size == 0 {
			t.Fatalf("%+v", s)
		}
	}
}

func TestHubRefusals(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	hub := "http://" + up.Addresses().Hub
	for path, want := range map[string]string{
		"/api/models/acme/none":                         "401 RepoNotFound",
		"/api/models/acme/tiny-llm/revision/none":       "404 RevisionNotFound",
		"/acme/tiny-llm/resolve/main/none":              "404 EntryNotFound",
		"/api/models/acme/gated-llm":                    "401 GatedRepo",
		"/cdn/acme/Tiny-LLM/" + strings.Repeat("0", 64): "403 ",
	} {
		if r := get(t, hub+path); fmt.Sprintf("%d %s", r.status, r.header.Get("X-Error-Code")) != want {
			t.Errorf("%s: %d %s", path, r.status, r.header.Get("X-Error-Code"))
		}
	}
	if r := get(t, hub+"/api/models/acme/gated-llm", "Authorization: Bearer "+upstreamtest.GatedToken); r.status != http.StatusOK {
		t.Errorf("with the token: %d", r.status)
	}
}

func TestWrongSizeInListings(t *testing.T) {
	up := start(t, upstreamtest.Options{HubPage: 100})
	url := "http://" + up.Addresses().Hub + "/api/models/acme/tiny-llm/tree/main?recursive=true"
	truth, _ := listTree(t, url)
	up.Fault(upstreamtest.Fault{Match: matching(`/model-00001-.*`), Kind: upstreamtest.WrongSize, Add: 7, Times: 1})
	lie, _ := listTree(t, url)
	after, _ := listTree(t, url)
	for i := range truth {
		add := int64(0)
		if strings.HasPrefix(truth[i].Path, "model-00001-") {
			add = 7
		}
		if lie[i].Size != truth[i].Size+add || after[i].Size != truth[i].Size {
			t.Errorf("%s: %d, then %d, then %d", truth[i].Path, truth[i].Size, lie[i].Size, after[i].Size)
		}
	}
}

func TestSafetensorsAreWellFormed(t *testing.T) {
	up := start(t, upstreamtest.Options{})
	hub := "http://" + up.Addresses().Hub + "/acme/Tiny-LLM/resolve/main/"
	var index struct {
		Metadata  struct{ Total_size int64 }
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(get(t, hub+"model.safetensors.index.json").body, &index); err != nil {
		t.Fatal(err)
	}
	var total int64
	seen := map[string]bool{}
	for _, shard := range index.WeightMap {
		if !seen[shard] {
			seen[shard] = true
			total += checkSafetensors(t, get(t, get(t, hub+shard).header.Get("Location")).body, index.WeightMap, shard)
		}
	}
	if total != index.Metadata.Total_size || len(seen) != 2 {
		t.Fatalf("%d bytes of tensors in %d shards, index says %d", total, len(seen), index.Metadata.Total_size)
	}
}

// checkSafetensors returns how many bytes of tensors a shard has.
func checkSafetensors(t *testing.T, shard []byte, where map[string]string, name string) int64 {
	t.Helper()
	n := binary.LittleEndian.Uint64(shard)
	header := map[string]struct {
		DataOffsets [2]int64 `json:"data_offsets"`
		Shape       []int64
	}{}
	raw := bytes.Replace(shard[8:8+n], []byte(`"__metadata__":{"format":"pt"},`), nil, 1)
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	var end int64
	for tensor, h := range header {
		if where[tensor] != name || h.DataOffsets[1]-h.DataOffsets[0] != 2*h.Shape[0] {
			t.Errorf("%s in %s: %+v", tensor, name, h)
		}
		end = max(end, h.DataOffsets[1])
	}
	if int64(len(shard)) != 8+int64(n)+end {
		t.Errorf("%s: %d bytes", name, len(shard))
	}
	return end
}
