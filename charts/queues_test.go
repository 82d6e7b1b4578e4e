package charts_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestQueues(t *testing.T) {
	for _, want := range queueTable {
		t.Run(want.name, func(t *testing.T) {
			values := maps.Clone(want.values)
			if values == nil {
				values = map[string]any{}
			}
			site, _ := values["site"].(map[string]any)
			site = maps.Clone(site)
			if site == nil {
				site = map[string]any{}
			}
			site["gpus"] = orEmpty(want.gpus)
			values["site"] = site
			files, err := render(t, "gpu-queues", "trial", values, kubernetes[0])
			if want.refused != "" {
				if err == nil || !strings.Contains(err.Error(), want.refused) {
					t.Fatalf("it should say %q: %v", want.refused, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			compareQueues(t, want, readQueues(t, objectsOf(t, files)))
		})
	}
}

func orEmpty(list []any) []any { return append([]any{}, list...) }

// madeQueues is what the chart made, in the form of the table.
type madeQueues struct {
	flavors map[string]string
	queues  map[string]quotas
	pool    quotas
	groups  [][]string
	weights map[string]string
	local   map[string]string // namespace: cluster queue
}

func readQueues(t *testing.T, objects []*unstructured.Unstructured) madeQueues {
	t.Helper()
	made := madeQueues{
		flavors: map[string]string{}, queues: map[string]quotas{}, weights: map[string]string{}, local: map[string]string{},
	}
	for _, u := range objects {
		if !strings.HasPrefix(u.GetAPIVersion(), "kueue.x-k8s.io/") {
			continue
		}
		if u.GetAPIVersion() != "kueue.x-k8s.io/v1beta2" {
			t.Errorf("%s %s is %s", u.GetKind(), u.GetName(), u.GetAPIVersion())
		}
		switch u.GetKind() {
		case "ResourceFlavor":
			made.flavors[u.GetName()] = joinLabels(nested(u.Object, "spec", "nodeLabels"))
		case "Cohort":
			made.pool, _ = readQuotas(t, u)
		case "ClusterQueue":
			made.queues[u.GetName()], made.groups = readQuotas(t, u)
			made.weights[u.GetName()], _ = nested(u.Object, "spec", "fairSharing", "weight").(string)
		case "LocalQueue":
			made.local[u.GetNamespace()], _ = nested(u.Object, "spec", "clusterQueue").(string)
		}
	}
	return made
}

func joinLabels(from any) string {
	m, _ := from.(map[string]any)
	var out []string
	for k, v := range m {
		out = append(out, fmt.Sprintf("%s=%v", k, v))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// readQuotas reads nominal quotas and what each group covers, and holds the object to
// the rules of Kueue's webhook.
func readQuotas(t *testing.T, u *unstructured.Unstructured) (quotas, [][]string) {
	t.Helper()
	out := quotas{}
	var groups [][]string
	covered, flavors := map[string]bool{}, map[string]bool{}
	total := 0
	list, _ := nested(u.Object, "spec", "resourceGroups").([]any)
	for _, g := range list {
		var names []string
		for _, r := range g.(map[string]any)["coveredResources"].([]any) {
			if name := r.(string); covered[name] {
				t.Errorf("%s covers %s twice", u.GetName(), name)
			} else {
				covered[name] = true
				names = append(names, name)
			}
		}
		groups = append(groups, names)
		inGroup := g.(map[string]any)["flavors"].([]any)
		total += len(inGroup)
		if len(names) > 64 || len(inGroup) > 64 || len(names)*len(inGroup) > 512 {
			t.Errorf("%s has a group of %d resources and %d flavors", u.GetName(), len(names), len(inGroup))
		}
		for _, f := range inGroup {
			readFlavor(t, f.(map[string]any), names, flavors, out)
		}
	}
	if len(list) > 16 || total > 256 || len(covered) > 256 {
		t.Errorf("%s has %d groups, %d flavors, %d resources", u.GetName(), len(list), total, len(covered))
	}
	return out, groups
}

func readFlavor(t *testing.T, f map[string]any, covered []string, seen map[string]bool, out quotas) {
	t.Helper()
	name := f["name"].(string)
	if seen[name] {
		t.Errorf("flavor %s is in two places", name)
	}
	seen[name] = true
	resources := f["resources"].([]any)
	if len(resources) != len(covered) {
		t.Fatalf("flavor %s has %d resources of %d", name, len(resources), len(covered))
	}
	for i, r := range resources {
		of := r.(map[string]any)
		if of["name"] != covered[i] {
			t.Errorf("flavor %s has %v where %s belongs", name, of["name"], covered[i])
		}
		quota := of["nominalQuota"].(string)
		if q, err := resource.ParseQuantity(quota); err != nil || q.Sign() < 0 {
			t.Errorf("flavor %s: %s: %q, %v", name, covered[i], quota, err)
		}
		out[name+" "+covered[i]] = quota
	}
}

func compareQueues(t *testing.T, want expectedQueues, got madeQueues) {
	t.Helper()
	if !maps.Equal(got.flavors, want.flavors) {
		t.Errorf("flavors: %v", got.flavors)
	}
	if !slices.EqualFunc(got.groups, want.groups, slices.Equal) {
		t.Errorf("groups: %q", got.groups)
	}
	if names := slices.Sorted(maps.Keys(got.queues)); !slices.Equal(names, slices.Sorted(maps.Keys(want.queues))) {
		t.Errorf("queues: %q", names)
	}
	for name, expected := range want.queues {
		compareQuotas(t, name, got.queues[name], expected)
	}
	compareQuotas(t, "the cohort", got.pool, want.pool)
}

// compareQuotas compares those that the table has; all others are zero.
func compareQuotas(t *testing.T, of string, got, want quotas) {
	t.Helper()
	for key, quota := range got {
		expected := resource.MustParse(cmp.Or(want[key], "0"))
		if q := resource.MustParse(quota); q.Cmp(expected) != 0 {
			t.Errorf("%s has %s of %s, not %s", of, quota, key, expected.String())
		}
	}
	for key := range want {
		if _, ok := got[key]; !ok {
			t.Errorf("%s has nothing of %s", of, key)
		}
	}
}

func TestQueuesAreReachedAndFair(t *testing.T) {
	got := readQueues(t, mustRender(t, "gpu-queues", map[string]any{"teams": hospital}))
	want := map[string]string{"radiology": "radiology", "genomics": "genomics", "genomics-batch": "genomics"}
	if !maps.Equal(got.local, want) {
		t.Errorf("local queues: %v", got.local)
	}
	if !maps.Equal(got.weights, map[string]string{"radiology": "3", "genomics": "1"}) {
		t.Errorf("weights: %v", got.weights)
	}
	for _, u := range mustRender(t, "gpu-queues", map[string]any{"teams": hospital}) {
		if u.GetKind() != "ClusterQueue" {
			continue
		}
		if reclaim := nested(u.Object, "spec", "preemption", "reclaimWithinCohort"); reclaim != "Any" {
			t.Errorf("%s does not get back what others borrowed: %v", u.GetName(), reclaim)
		}
		if cohort := nested(u.Object, "spec", "cohortName"); cohort != "caisson" {
			t.Errorf("%s borrows from %v", u.GetName(), cohort)
		}
	}
}

// TestQueuesWithoutTeams: somebody who says nothing gets a namespace whose jobs Kueue
// looks after, which it does not in its own, and a queue there.
func TestQueuesWithoutTeams(t *testing.T) {
	objects := mustRender(t, "gpu-queues", nil)
	if got := readQueues(t, objects); !maps.Equal(got.local, map[string]string{"default-team": "everyone"}) {
		t.Errorf("local queues: %v", got.local)
	}
	if made := namesOf(objects, "Namespace"); !slices.Equal(made, []string{"default-team"}) {
		t.Errorf("namespaces: %q", made)
	}
	if made := namesOf(mustRender(t, "gpu-queues", map[string]any{"teams": hospital}), "Namespace"); len(made) > 0 {
		t.Errorf("with teams: %q", made)
	}
}

func namesOf(objects []*unstructured.Unstructured, kind string) (out []string) {
	for _, u := range objects {
		if u.GetKind() == kind {
			out = append(out, u.GetName())
		}
	}
	return out
}

func TestQueuesTolerateTaintsOnlyIfAsked(t *testing.T) {
	for _, asked := range []bool{false, true} {
		objects := mustRender(t, "gpu-queues", map[string]any{
			"tolerateGPUTaints": asked, "site": map[string]any{"gpus": []any{mi300x, l4Shared}},
		})
		for _, u := range objects {
			if u.GetKind() != "ResourceFlavor" || u.GetName() == "cpu" {
				continue
			}
			list, _ := nested(u.Object, "spec", "tolerations").([]any)
			if (len(list) == 1) != asked {
				t.Errorf("asked %v, flavor %s has %v", asked, u.GetName(), list)
			}
		}
	}
}

func TestTeamsThatMayNotBorrow(t *testing.T) {
	objects := mustRender(t, "gpu-queues", map[string]any{
		"site":  map[string]any{"gpus": []any{h100}},
		"teams": []any{map[string]any{"name": "a", "namespaces": []any{"a"}, "borrow": false}},
	})
	for _, u := range objects {
		if u.GetKind() != "ClusterQueue" {
			continue
		}
		group := nested(u.Object, "spec", "resourceGroups").([]any)[1].(map[string]any)
		flavor := group["flavors"].([]any)[0].(map[string]any)
		if limit := flavor["resources"].([]any)[0].(map[string]any)["borrowingLimit"]; limit != "0" {
			t.Errorf("the limit is %v", limit)
		}
	}
}

// randomSite makes a site and teams by chance.
func randomSite(r *rand.Rand) (gpus []any, values map[string]any) {
	vendors := map[string]string{
		"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/i915", "habana": "habana.ai/gaudi",
	}
	names := slices.Sorted(maps.Keys(vendors))
	for i := range r.IntN(9) {
		vendor := names[r.IntN(len(names))]
		kind := fact{
			"name": fmt.Sprintf("%s-%d", vendor, i), "vendor": vendor, "resource": vendors[vendor],
			"memoryGiB": r.IntN(200), "count": r.IntN(40), "nodes": 1, "perNode": 8,
			"nodeLabels": map[string]any{"product": fmt.Sprint(i)},
		}
		if r.IntN(3) == 0 {
			kind["resource"] = fmt.Sprintf("%s.com/mig-%dg.10gb", vendor, 1+r.IntN(3))
		}
		gpus = append(gpus, kind)
	}
	values = map[string]any{"cpu": map[string]any{"cpus": 1 + r.IntN(1000), "memoryGiB": 1 + r.IntN(4000)}}
	var teams []any
	left := map[string]int{}
	for _, g := range gpus {
		left[g.(fact)["name"].(string)] = g.(fact)["count"].(int)
	}
	for i := range r.IntN(6) {
		team := map[string]any{"name": fmt.Sprintf("t%d", i), "namespaces": []any{fmt.Sprintf("n%d", i)}}
		if r.IntN(2) == 0 {
			team["weight"] = r.IntN(7)
		}
		promised := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(left)) {
			if n := r.IntN(left[name] + 1); r.IntN(3) == 0 {
				promised[name] = n
				left[name] -= n
			}
		}
		team["guaranteed"] = promised
		teams = append(teams, team)
	}
	values["teams"] = orEmpty(teams)
	values["site"] = map[string]any{"gpus": orEmpty(gpus)}
	return gpus, values
}

// TestQuotasAreWhatNodesOffer: for whatever site and teams, queues and pool together have
// exactly what the nodes offer of each kind, and nobody has a kind that is not there.
func TestQuotasAreWhatNodesOffer(t *testing.T) {
	for seed := range uint64(150) {
		gpus, values := randomSite(rand.New(rand.NewPCG(seed, 7)))
		files, err := render(t, "gpu-queues", "trial", values, kubernetes[0])
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		made := readQueues(t, objectsOf(t, files))
		offered := map[string]string{
			"cpu cpu":    fmt.Sprint(values["cpu"].(map[string]any)["cpus"]),
			"cpu memory": fmt.Sprint(values["cpu"].(map[string]any)["memoryGiB"]) + "Gi",
		}
		for _, g := range gpus {
			offered[fmt.Sprintf("%v %v", g.(fact)["name"], g.(fact)["resource"])] = fmt.Sprint(g.(fact)["count"])
		}
		for key := range made.pool {
			sum := resource.MustParse(made.pool[key])
			for _, q := range made.queues {
				sum.Add(resource.MustParse(q[key]))
			}
			if want := resource.MustParse(cmp.Or(offered[key], "0")); sum.Cmp(want) != 0 {
				t.Errorf("seed %d: %s: queues and pool have %s, nodes offer %s", seed, key, sum.String(), want.String())
			}
		}
		for key := range offered {
			if _, ok := made.pool[key]; !ok {
				t.Errorf("seed %d: nobody shares out %s", seed, key)
			}
		}
	}
}
