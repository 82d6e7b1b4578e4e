#!/usr/bin/env bash
# The whole road on one machine: two profiles of the stack that comes with caisson,
# out of real charts, in one signed bundle, onto a real Kubernetes control plane whose
# two GPU nodes are pretended.
#   test/demo.sh [DIR]      everything it makes lies below DIR (default: demo)
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath -m "${1:-demo}")
shown=${dir/#$PWD\//}
caisson=$PWD/bin/caisson
rm -rf "$dir"
mkdir -p "$dir"/{bin,up,registry,log}
started=$SECONDS

pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap cleanup EXIT

bold= dim= off=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$off"; }
# say WORD...: shows a command, in lines of 79 columns.
say() {
  local line='$' word
  printf %s "$dim"
  for word; do
    if ((${#line} + ${#word} > 76)); then
      printf '%s \\\n' "$line"
      line='   '
    fi
    line+=" $word"
  done
  printf '%s%s\n' "$line" "$off"
}
run() {
  say caisson "$@"
  (cd "$dir" && "$caisson" "$@")
}
show() {
  say cat "$1"
  cat "$dir/$1"
}
# until_line FILE PID WHAT: waits until FILE has a whole line, or PID is gone.
until_line() {
  until [ "$(wc -l <"$1")" -gt 0 ]; do
    if ! kill -0 "$2" 2>/dev/null; then
      tail -n 5 "${1%.out}.err" >&2
      echo "demo: $3 did not start; see $shown/log" >&2
      exit 1
    fi
    read -r -t 0.1 <> <(:) || true
  done
}

# The control plane is built (once per machine) and started while the bundle is
# being made.
cluster() {
  bin=$(test/build.sh cluster) && exec "$bin/kube" up -dir "$dir/cluster" -nodes 2 -pretend-operators
}
touch "$dir"/log/{cluster,upstream,registry}.out
cluster >"$dir/log/cluster.out" 2>"$dir/log/cluster.err" &
pids+=($!)
cluster_pid=$!

step "A connected side, on loopback"
cat <<T
Real are the charts of cert-manager, JobSet, Kueue, Kubeflow Trainer and
KServe, out of their Go modules (95 MB, fetched once). Stand-ins are the images,
2 KiB behind each real name, and the model's weights, 2 MiB of random numbers.
T
go build -o "$dir/bin/" ./internal/testkit/missiontest/upstream ./internal/testkit/upstreamtest/distribution
"$dir/bin/upstream" -dir "$dir/up" >"$dir/log/upstream.out" 2>"$dir/log/upstream.err" &
pids+=($!)
until_line "$dir/log/upstream.out" $! "the upstream"
"$dir/bin/distribution" -dir "$dir/registry" >"$dir/log/registry.out" 2>"$dir/log/registry.err" &
pids+=($!)
until_line "$dir/log/registry.out" $! "the site registry"
registry=$(<"$dir/log/registry.out")

cp test/demo/*.yaml "$dir/"
step "Our own stack: the one that comes with caisson, and what differs"
show stack.yaml
run stack lint stack.yaml

export CAISSON_PASSWORD=demo
step "Connected side: pin, pack, sign"
echo "images.caisson.dev/caisson is this program, which the site's nodes can run."
run keys generate --out keys
run resolve -f stack.yaml --upstreams up/upstreams.yaml -o stack.lock.yaml
run pack stack.lock.yaml --upstreams up/upstreams.yaml -o out --signing-key keys/caisson.key --volume-size 32MiB

step "Across the gap, on two media"
mkdir -p "$dir/usb1" "$dir/usb2"
n=0
for f in "$dir"/out/*; do
  case $f in
    *.vol-*) n=$((n + 1)); cp "$f" "$dir/usb$((n % 2 + 1))/" ;;
    *) cp "$f" "$dir/usb1/" ;;
  esac
done
(cd "$dir" && du -sh usb1 usb2)

step "Disconnected side: prove, look, load"
run verify usb1 usb2 --key keys/caisson.pub
run inspect usb1 usb2 --key keys/caisson.pub
run load usb1 usb2 --key keys/caisson.pub --registry "$registry" --plain-http

step "Disconnected side: plan and install"
cat <<T
Real are the Kubernetes API and every object in it. Pretended are two nodes with
GPUs, pods, which run at once, and controllers, which agree and finish at once.
T
if [ ! -s "$dir/log/cluster.out" ]; then
  echo "The API is still being built or started: minutes, the first time on a machine."
fi
until_line "$dir/log/cluster.out" $cluster_pid "the control plane"
export KUBECONFIG=$dir/cluster/kubeconfig
kubectl=$(test/build.sh cluster)/kubectl
cat >"$dir/site.yaml" <<Y
apiVersion: caisson.dev/v1alpha1
kind: Site
metadata: {name: demo-site}
registry: {mode: external, address: "$registry", plainHTTP: true}
references: [rewrite]
Y
show site.yaml
run plan usb1 usb2 --key keys/caisson.pub --site site.yaml -o plan.json
run install plan.json --state-dir state
run status --state-dir state
run history --state-dir state
run report -o report --state-dir state

step "What came of it: queues for the GPUs that were found, a model, a TrainJob"
kinds=resourceflavors,clusterqueues,localqueues,inferenceservices,trainjobs
say kubectl get "$kinds" -A
"$kubectl" get "$kinds" -A -o custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name

step "Done in $((SECONDS - started)) s"
cat <<T
Look next at
  $shown/report/report.html (in a browser): where every byte came from
  bin/caisson plan show $shown/plan.json --objects
  bin/caisson stack show sovereign-ai, and docs/stack.md: all eight profiles
The cluster ends with this script. For real nodes, real controllers, a model
that answers and a TrainJob that computes, as root: make e2e-mission
T
