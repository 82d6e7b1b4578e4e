#!/usr/bin/env bash
# The whole road on one machine: a local upstream, one signed bundle, a site
# registry, a real Kubernetes control plane with two pretend GPU nodes.
#   test/demo.sh [DIR]      everything it makes lies below DIR (default: demo)
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath -m "${1:-demo}")
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
run() {
  printf '%s$ caisson %s%s\n' "$dim" "${*//$dir\//}" "$off"
  (cd "$dir" && "$caisson" "$@")
}
# until_line FILE PID WHAT: waits until FILE has a whole line, or PID is gone.
until_line() {
  until [ "$(wc -l <"$1")" -gt 0 ]; do
    kill -0 "$2" 2>/dev/null || { echo "demo: $3 did not start; see $dir/log" >&2; exit 1; }
    read -r -t 0.1 <> <(:) || true
  done
}

# The control plane is built (once per machine) and started while the bundle is
# being made.
cluster() {
  bin=$(test/build.sh cluster) && exec "$bin/kube" up -dir "$dir/cluster" -nodes 2
}
touch "$dir"/log/{cluster,upstream,registry}.out
cluster >"$dir/log/cluster.out" 2>"$dir/log/cluster.err" &
pids+=($!)
cluster_pid=$!

step "A connected side: registry, chart repository, model hub, on loopback"
go build -o "$dir/bin/" ./internal/testkit/upstreamtest/upstream ./internal/testkit/upstreamtest/distribution
"$dir/bin/upstream" -dir "$dir/up" >"$dir/log/upstream.out" 2>"$dir/log/upstream.err" &
pids+=($!)
until_line "$dir/log/upstream.out" $! "the upstream"
"$dir/bin/distribution" -dir "$dir/registry" >"$dir/log/registry.out" 2>"$dir/log/registry.err" &
pids+=($!)
until_line "$dir/log/registry.out" $! "the site registry"
registry=$(<"$dir/log/registry.out")
echo "stack: up/stack.yaml"

export CAISSON_PASSWORD=demo
step "Connected side: pin, pack, sign"
run keys generate --out keys
run resolve -f up/stack.yaml --upstreams up/upstreams.yaml -o stack.lock.yaml
run pack stack.lock.yaml --upstreams up/upstreams.yaml -o out --signing-key keys/caisson.key --volume-size 4MiB

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
run inspect usb1 --key keys/caisson.pub
run load usb1 usb2 --key keys/caisson.pub --registry "$registry" --plain-http

step "Disconnected side: plan and install"
if [ ! -s "$dir/log/cluster.out" ]; then
  echo "the control plane is still being built or started; the first time on a machine that takes minutes"
fi
until_line "$dir/log/cluster.out" $cluster_pid "the control plane"
export KUBECONFIG=$dir/cluster/kubeconfig
cat >"$dir/site.yaml" <<Y
apiVersion: caisson.dev/v1alpha1
kind: Site
metadata: {name: demo-site}
registry: {mode: external, address: "$registry", plainHTTP: true}
references: [rewrite]
Y
run plan usb1 usb2 --key keys/caisson.pub --site site.yaml -o plan.json
run install plan.json --state-dir state
run status --state-dir state
run history --state-dir state
run report -o report --state-dir state

step "Done in $((SECONDS - started)) s"
cat <<T
  the bundle   ${dir/#$PWD\//}/out
  the plan     ${dir/#$PWD\//}/plan.json
  the report   ${dir/#$PWD\//}/report/report.html   (open it in a browser)
T
