#!/usr/bin/env bash
# node.sh NAME ADDRESS INDEX: one Kubernetes node, as the first process of its
# pid namespace, in network, mount and uts namespaces of its own. $STATE is the
# test's directory, $CGROUP the name of its control groups, $GATEWAY and
# $REGISTRY where the control plane and the site registry are, $PAUSE the image
# that holds a pod's network.
set -euo pipefail
name=$1 address=$2 index=$3
d=$STATE/$name cluster=$STATE/cluster
hostname "$name"
mount --make-rshared /

# What a node keeps is its own; none of it reaches the machine.
mkdir -p "$d"/{kubelet,containerd,sysctl,etc,etc.work,var,var.work}
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
for tree in etc var; do
  mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$d/$tree,workdir=$d/$tree.work" "/$tree"
done
mkdir -p /var/lib/kubelet /var/lib/containerd
mount --bind "$d/kubelet" /var/lib/kubelet
mount --bind "$d/containerd" /var/lib/containerd
rm -f /etc/resolv.conf
echo "nameserver $GATEWAY" >/etc/resolv.conf
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >/etc/hosts

# The kubelet sets these for the whole machine: show it what it wants to see.
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=$d/sysctl/$(basename "${setting%=*}")
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do
  [ ! -e "$f" ] || echo 1 >"$f"
done

# A root of its own in every hierarchy of control groups. A new cpuset is empty.
for hierarchy in /sys/fs/cgroup/*/; do
  for group in "$CGROUP" "$CGROUP/$name"; do
    mkdir -p "$hierarchy$group"
    [ ! -e "$hierarchy$group/cpuset.cpus" ] || for what in cpus mems; do
      cat "${hierarchy}cpuset.$what" >"$hierarchy$group/cpuset.$what"
    done
  done
done

mkdir -p /etc/cni/net.d "/etc/containerd/certs.d/$REGISTRY"
cat >/etc/cni/net.d/10-test.conflist <<Y
{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.$index.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
Y
cat >"/etc/containerd/certs.d/$REGISTRY/hosts.toml" <<Y
server = "http://$REGISTRY"
[host."http://$REGISTRY"]
  capabilities = ["pull", "resolve"]
Y
# A pause container with a score of -998 takes a capability that not every
# administrator of a virtual machine has: hence restrict_oom_score_adj.
cat >/etc/containerd/config.toml <<Y
version = 3
disabled_plugins = ["io.containerd.internal.v1.opt"] # else it makes /opt/containerd
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "$PAUSE"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$NODE_BIN"]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
Y
cat >/etc/kubelet.yaml <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/$name
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
address: $address
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $cluster/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $cluster/pki/kubelet-$name.crt
tlsPrivateKeyFile: $cluster/pki/kubelet-$name.key
volumePluginDir: /var/lib/kubelet/volume-plugins
clusterDNS: [$GATEWAY]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
failSwapOn: false
syncFrequency: 10s # how soon a mounted Secret follows what a controller writes into it
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
Y
cat >/etc/kube-proxy.yaml <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $cluster/kube-proxy.kubeconfig}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
Y

PATH=$NODE_BIN:$PATH containerd --config /etc/containerd/config.toml >"$STATE/containerd-$name.log" 2>&1 &
# A kubelet that finds no socket ends.
until [ -S /run/containerd/containerd.sock ]; do
  kill -0 $! || exit 1
  sleep 0.1
done
"$CLUSTER_BIN/kube" kubelet --config=/etc/kubelet.yaml --kubeconfig="$cluster/kubelet-$name.kubeconfig" \
  --hostname-override="$name" --node-ip="$address" >"$STATE/kubelet-$name.log" 2>&1 &
"$CLUSTER_BIN/kube" kube-proxy --config=/etc/kube-proxy.yaml --hostname-override="$name" >"$STATE/kube-proxy-$name.log" 2>&1 &
# The end of any of them ends the node.
wait -n
