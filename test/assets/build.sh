#!/usr/bin/env bash
# Builds kube-apiserver, kube-controller-manager, etcd, kubectl (two versions), helm and a client-go program from their Go modules
# into a cache that every later checkout uses; about twelve minutes on two cores the first time. "promtool" as argument: that, too,
# another four minutes. Prints the directory: the value for KUBEBUILDER_ASSETS.
set -euo pipefail
cd "$(dirname "$0")"

version() { grep -oE "$2 v[0-9.]+" "$1/go.mod" | head -1 | awk '{print $2}'; }
kubernetes=$(version kubernetes k8s.io/kubernetes)
etcd=$(version etcd go.etcd.io/etcd/server/v3)
kubectl=$(version kubectl k8s.io/kubectl)
# The module is v0.33.13, the program that it makes is v1.33.13.
kubectl=v1${kubectl#v0}

cache=${WAGGLE_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/waggle/assets}/kubernetes-$kubernetes-etcd-$etcd-kubectl-$kubectl
mkdir -p "$cache"

command -v go >/dev/null || { echo "needs Go 1.24 or newer: apt-get install golang" >&2; exit 1; }

# Each binary appears by rename, so an interrupted build never leaves half of one.
build() { # module directory, package, name, version
  [[ -x $cache/$3 ]] && return
  echo "building $3 $4 ..." >&2
  (cd "$1" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$4" -o "$cache/.$3.new" "$2")
  mv "$cache/.$3.new" "$cache/$3"
}
# What the directory's name does not tell the version of has it in its own, and a link without.
versioned() { # module directory, package, name, version
  build "$1" "$2" "$3-$4" "${5:-$4}"
  ln -sfn "$3-$4" "$cache/$3"
}
build kubectl . kubectl "$kubectl"
build etcd . etcd "$etcd"
build kubernetes ./kube-apiserver kube-apiserver "$kubernetes"
build kubernetes ./kube-controller-manager kube-controller-manager "$kubernetes"
old=$(version kubectl-old k8s.io/kubectl)
minor=${old#v0.} minor=${minor%%.*}
versioned kubectl-old . "kubectl.1.$minor" "$old" "v1${old#v0}"
versioned helm helm.sh/helm/v3/cmd/helm helm "$(version helm helm.sh/helm/v3)"
# Our own program: its version is its text.
versioned client-go . client-go "$(version client-go k8s.io/client-go)-$(cat client-go/*.go | sha256sum | head -c 8)"
if [[ ${1-} == promtool ]]; then
  versioned promtool github.com/prometheus/prometheus/cmd/promtool promtool "$(version promtool github.com/prometheus/prometheus)"
fi
echo "$cache"
