package gpu

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
)

func TestAProbesLineComesBack(t *testing.T) {
	c := readCatalogue(t)
	n := probedNode(c, inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8, Bound: "nvidia"})
	n.HugePages, n.RDMA = []inventory.HugePages{{SizeKiB: 2048, Count: 16}}, []inventory.RDMA{{Name: "mlx5_0", Link: "InfiniBand"}}
	line, err := ProbeLine(n)
	if err != nil {
		t.Fatal(err)
	}
	log := "starting\n" + string(line) + "more\n"
	got, err := c.ParseProbe([]byte(log), "b")
	n.Name = "b"
	if err != nil || !reflect.DeepEqual(got, n) {
		t.Errorf("read %+v, %v\nwrote %+v", got, err, n)
	}
}

func TestAProbesLineIsNotTrusted(t *testing.T) {
	c := readCatalogue(t)
	for name, log := range map[string]string{
		"nothing":       "",
		"other lines":   "hello\n{}\n",
		"half a line":   `{"caissonProbe":1,"node":{"name":"x"}}`,
		"beyond bounds": strings.Repeat("x", MaxProbe) + "\n" + `{"caissonProbe":1,"node":{}}` + "\n",
	} {
		if _, err := c.ParseProbe([]byte(log), "n"); !errors.Is(err, ErrNoProbe) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, node := range map[string]string{
		"vendor":    `{"gpus":[{"vendor":"zz","device":"2330","count":1}]}`,
		"no device": `{"gpus":[{"vendor":"10de","count":1}]}`,
		"count":     `{"gpus":[{"vendor":"10de","device":"2330","count":-1}]}`,
		"kernel":    `{"kernel":"a b\u001b[31m"}`,
		"state":     `{"driver":{"state":"splendid"}}`,
		"negative":  `{"switches":-4}`,
		"no JSON":   `{`,
	} {
		if n, err := c.ParseProbe([]byte(`{"caissonProbe":1,"node":`+node+"}\n"), "n"); err == nil || errors.Is(err, ErrNoProbe) {
			t.Errorf("%s: accepted as %+v, %v", name, n, err)
		}
	}
	if _, err := c.ParseProbe([]byte(`{"caissonProbe":2,"node":{}}`+"\n"), "n"); err == nil {
		t.Error("a later form was read")
	}
	n, err := c.ParseProbe([]byte(`{"caissonProbe":1,"node":{"name":"other","gpus":[{"vendor":"10de","device":"2330","count":1,"product":"RTX 1","memoryGiB":9999}]}}`+"\n"), "mine")
	if err != nil || n.Name != "mine" || n.GPUs[0].Product != "H100 SXM5 80GB" || n.GPUs[0].MemoryGiB != 80 {
		t.Errorf("a probe named the node or the product: %+v, %v", n, err)
	}
}

func FuzzProbe(f *testing.F) {
	c := readCatalogue(f)
	line, err := ProbeLine(probedNode(c, inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"caissonProbe":1,"node":{}}` + "\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		n, err := c.ParseProbe(log, "n")
		if err != nil {
			return
		}
		if n.Name != "n" {
			t.Errorf("the probe named its node %q", n.Name)
		}
		text, err := inventory.New([]inventory.Node{n}, false, "").Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inventory.Parse("f", text); err != nil {
			t.Errorf("what was accepted cannot be written down: %v\n%s", err, text)
		}
	})
}
