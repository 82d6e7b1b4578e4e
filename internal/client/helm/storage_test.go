package helm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

// cluster connects to the shared test cluster and makes a namespace that goes
// with the test.
func cluster(t *testing.T) (*kube.Client, string) {
	t.Helper()
	c, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: clustertest.Start(t).Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	if _, _, err := c.EnsureNamespace(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	return c, name
}

// drivers runs a test against Helm's own driver and ours: the suite is what
// both must do.
func drivers(t *testing.T, test func(t *testing.T, d driver.Driver, namespace string)) {
	t.Run("memory", func(t *testing.T) { test(t, driver.NewMemory(), "default") })
	t.Run("ours", func(t *testing.T) {
		c, ns := cluster(t)
		test(t, NewDriver(c.Records(ns)), ns)
	})
}

func stub(name, namespace string, version int, status release.Status) *release.Release {
	return &release.Release{
		Name: name, Namespace: namespace, Version: version, Info: &release.Info{Status: status},
		Chart: &chart.Chart{Metadata: &chart.Metadata{Name: name, Version: "1.0.0"}}, Labels: map[string]string{"team": name},
	}
}

func key(name string, version int) string {
	return fmt.Sprintf("%s.%s.v%d", storage.HelmStorageType, name, version)
}

func TestDriverKeepsReleases(t *testing.T) {
	drivers(t, func(t *testing.T, d driver.Driver, ns string) {
		for v, status := range []release.Status{release.StatusSuperseded, release.StatusDeployed} {
			if err := d.Create(key("web", v+1), stub("web", ns, v+1, status)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Create(key("db", 1), stub("db", ns, 1, release.StatusFailed)); err != nil {
			t.Fatal(err)
		}
		if err := d.Create(key("web", 1), stub("web", ns, 1, release.StatusDeployed)); !errors.Is(err, driver.ErrReleaseExists) {
			t.Errorf("creating twice: %v", err)
		}
		got, err := d.Get(key("web", 2))
		if err != nil || got.Version != 2 || got.Info.Status != release.StatusDeployed || got.Chart.Metadata.Version != "1.0.0" || got.Labels["team"] != "web" {
			t.Errorf("got %+v, %v", got, err)
		}
		for _, bad := range []string{key("web", 9), key("none", 1)} {
			if _, err := d.Get(bad); !errors.Is(err, driver.ErrReleaseNotFound) {
				t.Errorf("getting %s: %v", bad, err)
			}
			if _, err := d.Delete(bad); !errors.Is(err, driver.ErrReleaseNotFound) {
				t.Errorf("deleting %s: %v", bad, err)
			}
		}
		if _, err := d.Get("nonsense"); !errors.Is(err, driver.ErrInvalidKey) {
			t.Errorf("a bad key: %v", err)
		}
		all, err := d.List(func(r *release.Release) bool { return r.Name == "web" })
		if err != nil || len(all) != 2 {
			t.Errorf("listed %d, %v", len(all), err)
		}
	})
}

func TestDriverQueries(t *testing.T) {
	drivers(t, func(t *testing.T, d driver.Driver, ns string) {
		for v := 1; v <= 3; v++ {
			if err := d.Create(key("web", v), stub("web", ns, v, release.StatusSuperseded)); err != nil {
				t.Fatal(err)
			}
		}
		deployed := stub("web", ns, 3, release.StatusDeployed)
		if err := d.Update(key("web", 3), deployed); err != nil {
			t.Fatal(err)
		}
		if err := d.Update(key("web", 7), stub("web", ns, 7, release.StatusDeployed)); !errors.Is(err, driver.ErrReleaseNotFound) {
			t.Errorf("updating what is not there: %v", err)
		}
		for want, query := range map[int]map[string]string{
			1: {"name": "web", "owner": "helm", "status": "deployed"},
			2: {"name": "web", "owner": "helm", "status": "superseded"},
			3: {"name": "web", "owner": "helm"},
		} {
			got, err := d.Query(query)
			if err != nil || len(got) != want {
				t.Errorf("%v gives %d, %v", query, len(got), err)
			}
		}
		if _, err := d.Query(map[string]string{"name": "none", "owner": "helm"}); !errors.Is(err, driver.ErrReleaseNotFound) {
			t.Errorf("a query without answer: %v", err)
		}
		gone, err := d.Delete(key("web", 1))
		if err != nil || gone.Version != 1 {
			t.Errorf("deleted %+v, %v", gone, err)
		}
	})
}

// What Helm itself builds on a driver must work as on Helm's own.
func TestDriverUnderHelmsStorage(t *testing.T) {
	drivers(t, func(t *testing.T, d driver.Driver, ns string) {
		s := storage.Init(d)
		s.MaxHistory = 3
		for v := 1; v <= 5; v++ {
			if last, err := s.Last("web"); err == nil {
				last.Info.Status = release.StatusSuperseded
				if err := s.Update(last); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Create(stub("web", ns, v, release.StatusDeployed)); err != nil {
				t.Fatal(err)
			}
		}
		history, err := s.History("web")
		var versions []int
		for _, r := range history {
			versions = append(versions, r.Version)
		}
		slices.Sort(versions)
		if err != nil || !slices.Equal(versions, []int{3, 4, 5}) {
			t.Errorf("history is %v, %v", versions, err)
		}
		if r, err := s.Deployed("web"); err != nil || r.Version != 5 {
			t.Errorf("deployed is %+v, %v", r, err)
		}
		if _, err := s.Deployed("none"); !errors.Is(err, driver.ErrNoDeployedReleases) {
			t.Errorf("deployed of nothing: %v", err)
		}
	})
}

// Helm's own Secret driver fails here: one Secret holds 1 MiB.
func TestDriverKeepsReleasesOverOneMebibyte(t *testing.T) {
	c, ns := cluster(t)
	d := NewDriver(c.Records(ns))
	r := stub("big", ns, 1, release.StatusDeployed)
	r.Manifest = incompressible(3 << 20)
	if err := d.Create(key("big", 1), r); err != nil {
		t.Fatal(err)
	}
	if err := driver.NewSecrets(c.Core.CoreV1().Secrets(ns)).Create(key("big", 1), r); err == nil {
		t.Error("Helm's own driver stored it as well: the test proves nothing")
	}
	got, err := d.Get(key("big", 1))
	if err != nil || got.Manifest != r.Manifest {
		t.Fatalf("read back %v", err)
	}
	r.Info.Status = release.StatusSuperseded
	if err := d.Update(key("big", 1), r); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Delete(key("big", 1)); err != nil {
		t.Fatal(err)
	}
	names, err := c.Records(ns).Names(t.Context(), nil)
	if err != nil || len(names) != 0 {
		t.Errorf("%q stay, %v", names, err)
	}
}
