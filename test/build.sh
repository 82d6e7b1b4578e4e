#!/usr/bin/env bash
# test/build.sh cluster|node|tools|controllers|all
#
# Builds a nested module of this directory, once per content of the module and
# Go version, and prints the directory of its binaries on standard output (all:
# one line for each module). Everything else goes to standard error. Builds
# live below $CAISSON_TEST_CACHE, by default ~/.cache/caisson-test; one that
# was not asked for in 30 days is removed when another is added.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CAISSON_TEST_CACHE:-$HOME/.cache/caisson-test}
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off

# A build that is told to end takes its compiler with it.
child=
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 143' TERM INT HUP
run() {
  nice -n 5 "$@" &
  child=$!
  wait "$child"
  child=
}

# key: what a build depends on, hashed; in the directory of the module.
key() {
  {
    go env GOVERSION GOOS GOARCH
    cat "$here/build.sh"
    find . -type f \( -name '*.go' -o -name '*.yaml' -o -name go.mod -o -name go.sum \) ! -name '*_test.go' -print0 |
      LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1
}

# download PACKAGE...: fetches what they import, trying again if the network fails.
download() {
  local try
  for try in 1 2 3 4 5; do
    go list -deps "$@" >/dev/null && return
    [ "$try" = 5 ] || sleep $((try * 3))
  done
  return 1
}

# release MODULE: the version of a dependency, as v1.2.3.
release() { go list -m -f '{{.Version}}' "$1"; }

# minor VERSION: the 2 of v1.2.3.
minor() { cut -d. -f2 <<<"$1"; }

# build_cluster OUT: the multi-call binary, also as kubectl. Unstamped, the
# components would report version v0.0.0-master.
build_cluster() {
  local version flags='-s -w' package
  download .
  version=$(release k8s.io/kubernetes)
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(minor "$version")"
    flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=0000000000000000000000000000000000000000"
  done
  run go build -trimpath -ldflags "$flags" -o "$1/kube" .
  ln -s kube "$1/kubectl"
}

# build_tools OUT: every tool of go.mod. Helm is stamped as its releases are:
# unstamped, it would render charts for Kubernetes 1.20.
build_tools() {
  local helm=helm.sh/helm/v3 flags='-s -w' kubernetes package
  download tool
  kubernetes=$(release k8s.io/client-go)
  flags+=" -X $helm/internal/version.version=$(release $helm)"
  for package in pkg/chartutil pkg/lint/rules; do
    flags+=" -X $helm/$package.k8sVersionMajor=1 -X $helm/$package.k8sVersionMinor=$(minor "$kubernetes")"
  done
  run go build -trimpath -ldflags "$flags" -o "$1/" tool
}

# build_node OUT: containerd, its shim and the network plugins of a node.
build_node() {
  download tool
  run go build -trimpath -ldflags '-s -w' -o "$1/" tool
}

# build_controllers OUT: the controllers of other projects, stamped as their
# releases are; NFD reads the host's files below /host-.
build_controllers() {
  local flags='-s -w' nfd=sigs.k8s.io/node-feature-discovery module program
  for module in sigs.k8s.io/jobset sigs.k8s.io/kueue; do
    flags+=" -X $module/pkg/version.GitVersion=$(release $module)"
  done
  flags+=" -X github.com/cert-manager/cert-manager/pkg/util.AppVersion=$(release github.com/cert-manager/cert-manager)"
  flags+=" -X $nfd/pkg/version.version=$(release $nfd) -X $nfd/pkg/utils/hostpath.pathPrefix=/host-"
  # One at a time: they do not agree how the name of a library is spelled.
  for program in ./cert-manager $(go list -e tool); do
    download "$program"
    run go build -trimpath -ldflags "$flags" -o "$1/" "$program"
  done
  cd kserve # which wants older libraries
  download tool
  run go build -trimpath -ldflags '-s -w' -o "$1/kserve" tool
}

# build MODULE: builds it unless it is there; prints its directory.
build() {
  local module=$1 parent=$cache/$1 out
  cd "$here/$module"
  mkdir -p "$parent"
  out=$parent/$(key)
  if [ ! -d "$out" ]; then
    exec 9>"$parent.lock"
    flock 9
    [ -d "$out" ] || build_into "$out"
    exec 9>&-
  fi
  touch "$out"
  echo "$out"
}

# build_into OUT: builds beside OUT and renames; the lock is held.
build_into() {
  local parent started=$SECONDS
  parent=$(dirname "$1")
  rm -rf "$parent"/new.*
  find "$parent" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
  echo "building test/$module (minutes, the first time on a machine)" >&2
  mkdir "$parent/new.$$"
  "build_$module" "$parent/new.$$" >&2
  mv -T "$parent/new.$$" "$1"
  echo "built test/$module in $((SECONDS - started)) s" >&2
}

case ${1:-} in
  cluster | node | tools | controllers) build "$1" ;;
  all)
    build cluster
    build node
    build tools
    build controllers
    ;;
  *)
    echo "usage: test/build.sh cluster|node|tools|controllers|all" >&2
    exit 2
    ;;
esac
