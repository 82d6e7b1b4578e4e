package kube

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// noise does not compress.
func noise(seed byte, n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(out)
	return out
}

// secrets counts the Secrets of a record and its chunks.
func secrets(t *testing.T, c *Client, ns, name string) int {
	t.Helper()
	list, err := c.Core.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range list.Items {
		if s.Name == name || strings.HasPrefix(s.Name, name+".") {
			n++
		}
	}
	return n
}

func TestRecordsOfEverySize(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	r := c.Records(ns)
	for i, size := range []int{0, 1, ChunkSize - 100, ChunkSize + 1, 4 << 20} {
		name := "r" + string(rune('a'+i))
		payload := noise(byte(i), size)
		version, err := r.Create(t.Context(), Record{Name: name, Labels: map[string]string{"k": "v"}, Payload: payload})
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := r.Get(t.Context(), name)
		if err != nil || !bytes.Equal(got.Payload, payload) || got.Version != version || got.Labels["k"] != "v" {
			t.Errorf("%d bytes: read back %d bytes, %v", size, len(got.Payload), err)
		}
		if _, err := r.Create(t.Context(), Record{Name: name, Payload: payload}); !errors.Is(err, ErrExists) {
			t.Errorf("%d bytes: created twice: %v", size, err)
		}
		if err := r.Delete(t.Context(), name); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if n := secrets(t, c, ns, name); n != 0 {
			t.Errorf("%d bytes: %d secrets stay after deletion", size, n)
		}
		if _, err := r.Get(t.Context(), name); !errors.Is(err, ErrNoRecord) {
			t.Errorf("%d bytes: reading what was deleted: %v", size, err)
		}
	}
}

func TestRecordUpdatesExcludeEachOther(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	r := c.Records(ns)
	if _, err := r.Update(t.Context(), Record{Name: "a"}); !errors.Is(err, ErrNoRecord) {
		t.Errorf("updating nothing: %v", err)
	}
	v1, err := r.Create(t.Context(), Record{Name: "a", Payload: noise(1, 3<<20)})
	if err != nil {
		t.Fatal(err)
	}
	v2, err := r.Update(t.Context(), Record{Name: "a", Payload: noise(2, 2<<20), Version: v1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Update(t.Context(), Record{Name: "a", Payload: noise(3, 2<<20), Version: v1}); !errors.Is(err, ErrConflict) {
		t.Errorf("updating an old version: %v", err)
	}
	got, err := r.Get(t.Context(), "a")
	if err != nil || !bytes.Equal(got.Payload, noise(2, 2<<20)) || got.Version != v2 {
		t.Errorf("after a refused update the record is another: %v", err)
	}
	if _, err := r.Update(t.Context(), Record{Name: "a", Payload: []byte("small"), Version: v2}); err != nil {
		t.Fatal(err)
	}
	if n := secrets(t, c, ns, "a"); n != 1 {
		t.Errorf("%d secrets for a small record: chunks of former contents stay", n)
	}
}

func TestRecordDamageIsSeen(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	r := c.Records(ns)
	for _, name := range []string{"good", "lost", "bent"} {
		if _, err := r.Create(t.Context(), Record{Name: name, Labels: map[string]string{"set": "x"}, Payload: noise(9, 2<<20)}); err != nil {
			t.Fatal(err)
		}
	}
	api := c.Core.CoreV1().Secrets(ns)
	list, err := api.List(t.Context(), metav1.ListOptions{LabelSelector: "caisson.dev/part=chunk"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Items {
		if strings.HasPrefix(s.Name, "lost.") && strings.HasSuffix(s.Name, ".1") {
			if err := api.Delete(t.Context(), s.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	head, err := api.Get(t.Context(), "bent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	head.Annotations[annotationSum] = "sha256:" + strings.Repeat("0", 64)
	if _, err := api.Update(t.Context(), head, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lost", "bent"} {
		if _, err := r.Get(t.Context(), name); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	all, err := r.List(t.Context(), map[string]string{"set": "x"})
	if !errors.Is(err, ErrDamaged) || len(all) != 1 || all[0].Name != "good" {
		t.Errorf("listing gives %d records, %v", len(all), err)
	}
}

func FuzzUnpack(f *testing.F) {
	good, _ := compressPayload([]byte("payload"))
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		payload, err := decompressPayload(data)
		if err == nil && len(payload) > maxRecord {
			t.Errorf("%d bytes unpacked", len(payload))
		}
	})
}
