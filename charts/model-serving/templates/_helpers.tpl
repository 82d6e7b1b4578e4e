{{- define "model-serving.stable" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "model-serving.labels" -}}
{{ include "model-serving.stable" . }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Switches that keep a server from asking anybody outside, and where it may write. */}}
{{- define "model-serving.offline" -}}
- {name: HF_HUB_OFFLINE, value: "1"}
- {name: TRANSFORMERS_OFFLINE, value: "1"}
- {name: HF_DATASETS_OFFLINE, value: "1"}
- {name: HF_HUB_DISABLE_XET, value: "1"}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
- {name: VLLM_NO_USAGE_STATS, value: "1"}
- {name: DO_NOT_TRACK, value: "1"}
- {name: HOME, value: /cache}
- {name: USER, value: server}
- {name: XDG_CACHE_HOME, value: /cache}
- {name: XDG_CONFIG_HOME, value: /cache/config}
- {name: HF_HOME, value: /cache/huggingface}
- {name: VLLM_CACHE_ROOT, value: /cache/vllm}
- {name: VLLM_CONFIG_ROOT, value: /cache/config/vllm}
- {name: TRITON_CACHE_DIR, value: /cache/triton}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
- {name: NUMBA_CACHE_DIR, value: /cache/numba}
- {name: OUTLINES_CACHE_DIR, value: /cache/outlines}
{{- end -}}

{{/* Megabytes, rounded up. */}}
{{- define "model-serving.mib" -}}
{{- div (add (int64 .) 1048575) 1048576 -}}
{{- end -}}

{{- define "model-serving.gib" -}}
{{- div (add (int64 .) 1023) 1024 -}}
{{- end -}}

{{/* The models to serve, as JSON: facts with what values say of them. */}}
{{- define "model-serving.wanted" -}}
{{- $facts := dict -}}
{{- range .Values.site.models -}}{{- $_ := set $facts .name . -}}{{- end -}}
{{- $asked := .Values.models -}}
{{- if not $asked -}}
{{- range .Values.site.models -}}
{{- if ne (default "" .serve) "none" -}}{{- $asked = append $asked (dict "name" .name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $out := list -}}
{{- $seen := dict -}}
{{- range $asked -}}
{{- if hasKey $seen .name -}}{{- fail (printf "model-serving: models names %s twice" .name) -}}{{- end -}}
{{- $_ := set $seen .name true -}}
{{- if and (not (hasKey $facts .name)) $facts -}}
{{- fail (printf "model-serving: there is no model %s in the bundle; it has: %s" .name (keys $facts | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and (hasKey $facts .name) (ternary .serve true (hasKey . "serve")) -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]{0,49}$" .name) -}}
{{- fail (printf (print
  "model-serving: model %s: the name of an InferenceService is a letter and then letters, digits and hyphens, "
  "50 at most; name the model otherwise in the stack, or leave it out with serve: false") .name) -}}
{{- end -}}
{{- $model := mergeOverwrite (deepCopy (get $facts .name)) (deepCopy .) -}}
{{- with .draft -}}
{{- if not (hasKey $facts .) -}}{{- fail (printf "model-serving: model %s has the draft model %s, which the bundle does not have" $model.name .) -}}{{- end -}}
{{- $_ := set $model "draftModel" (get $facts .) -}}
{{- end -}}
{{- $out = append $out $model -}}
{{- end -}}
{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{/* MiB of a model's KV cache for a number of tokens. */}}
{{- define "model-serving.cache" -}}
{{- $bytes := mul (int64 .model.kvBytesPerToken) (int64 .tokens) (int64 .sizing.sequences) -}}
{{- if eq (int64 .model.kvBytesPerToken) 0 -}}
{{- $bytes = div (mul (int64 .weights) 1048576 (int64 .sizing.unknownKVPercent)) 100 -}}
{{- end -}}
{{- include "model-serving.mib" $bytes -}}
{{- end -}}

{{/* What a model takes, as JSON: tokens of context, and MiB of weights and KV cache. */}}
{{- define "model-serving.need" -}}
{{- $model := .model -}}
{{- $sizing := .sizing -}}
{{- $most := int64 $model.maxContext -}}
{{- $tokens := int64 $model.contextLength -}}
{{- if and (gt $tokens $most) (gt $most 0) -}}
{{- fail (printf "model-serving: model %s: a context of %d tokens is wanted, and the model has %d" $model.name $tokens $most) -}}
{{- end -}}
{{- if eq $tokens 0 -}}
{{- $tokens = ternary (min $most (int64 $sizing.contextLength)) (int64 $sizing.unknownContext) (gt $most 0) -}}
{{- end -}}
{{- $weights := include "model-serving.mib" (default $model.bytes $model.weightsBytes) | int64 -}}
{{- $cache := include "model-serving.cache" (dict "model" $model "tokens" $tokens "weights" $weights "sizing" $sizing) | int64 -}}
{{- with $model.draftModel -}}
{{- $more := include "model-serving.mib" (default .bytes .weightsBytes) | int64 -}}
{{- $cache = add $cache (include "model-serving.cache" (dict "model" . "tokens" $tokens "weights" $more "sizing" $sizing) | int64) -}}
{{- $weights = add $weights $more -}}
{{- end -}}
{{- toJson (dict "tokens" $tokens "weights" $weights "cache" $cache) -}}
{{- end -}}

{{/*
The kinds of GPU that a model may take, smallest first, as JSON. Memory that pods share
by time belongs to nobody, so such a kind is taken only by name, and then a part of it.
*/}}
{{- define "model-serving.candidates" -}}
{{- $wanted := .gpu -}}
{{- $runtimes := .runtimes -}}
{{- $byKey := dict -}}
{{- range .gpus -}}
{{- $named := eq .name $wanted -}}
{{- if and (get (get $runtimes .vendor) "enabled") (or $named (and (eq $wanted "auto") (not .shared))) -}}
{{- $kind := deepCopy . -}}
{{- $_ := set $kind "mib" (div (mul (int64 .memoryGiB) 1024) (max 1 (int64 .shared))) -}}
{{- $_ := set $byKey (printf "%012d %s" $kind.mib .name) $kind -}}
{{- end -}}
{{- end -}}
{{- $out := list -}}
{{- range keys $byKey | sortAlpha -}}{{- $out = append $out (get $byKey .) -}}{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{/* How many pods with so many GPUs of a kind fit on its nodes, what is taken set aside. */}}
{{- define "model-serving.room" -}}
{{- $perNode := int64 (default .kind.count .kind.perNode) -}}
{{- $left := sub (int64 .kind.count) (int64 (default 0 (get .taken .kind.name))) -}}
{{- $pods := div $left .gpus -}}
{{- if gt .gpus 1 -}}
{{- $pods = min $pods (mul (int64 (default 1 .kind.nodes)) (div $perNode .gpus)) -}}
{{- end -}}
{{- $pods -}}
{{- end -}}

{{/*
Whether a number of GPUs can share a model: each gets as many attention heads as the
others, and of those that keep keys and values too, or a copy of one. It says yes or no.
*/}}
{{- define "model-serving.divides" -}}
{{- $heads := int64 .model.attentionHeads -}}
{{- $kept := int64 .model.keyValueHeads -}}
{{- $even := or (eq $heads 0) (eq (mod $heads .gpus) 0) -}}
{{- $keeps := or (eq $kept 0) (eq (mod $kept .gpus) 0) (and (gt .gpus $kept) (eq (mod .gpus (max 1 $kept)) 0)) -}}
{{- ternary "yes" "no" (and $even $keeps) -}}
{{- end -}}

{{/*
The GPUs of one model, as JSON: a kind and how many in each pod, or {} where none is fit
for it. First one GPU, the smallest that is large enough; then two, four and eight on
one node, where they can share the model and the one that guesses ahead for it.
*/}}
{{- define "model-serving.choose" -}}
{{- $context := . -}}
{{- $model := .model -}}
{{- $chosen := dict -}}
{{- $degrees := list 1 2 4 8 -}}
{{- if $model.tensorParallel -}}{{- $degrees = list (int64 $model.tensorParallel) -}}{{- end -}}
{{- range $gpus := $degrees -}}
{{- $each := add (div (add $context.need.weights $context.need.cache (sub $gpus 1)) $gpus) (mul (int64 $context.sizing.overheadGiB) 1024) -}}
{{- range $kind := $context.candidates -}}
{{- $whole := and (not $kind.profile) (not $kind.shared) -}}
{{- $divides := eq "yes" (include "model-serving.divides" (dict "model" $model "gpus" $gpus)) -}}
{{- with $model.draftModel -}}
{{- $divides = and $divides (eq "yes" (include "model-serving.divides" (dict "model" . "gpus" $gpus))) -}}
{{- end -}}
{{- $fits := le $each (div (mul $kind.mib (int64 $context.sizing.utilization)) 100) -}}
{{- $room := include "model-serving.room" (dict "kind" $kind "gpus" $gpus "taken" $context.taken) | int64 -}}
{{- if and (not $chosen) $fits (or (eq $gpus 1) (and $whole $divides)) (ge $room (int64 (default 1 $model.replicas))) -}}
{{- $_ := set $chosen "kind" $kind -}}
{{- $_ := set $chosen "gpus" $gpus -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $chosen -}}
{{- end -}}

{{/* Says that a model fits nowhere: what it takes, what there is, and what to do. */}}
{{- define "model-serving.refuse" -}}
{{- $model := .model -}}
{{- $runtimes := .runtimes -}}
{{- $there := list -}}
{{- range .gpus -}}
{{- $more := "" -}}
{{- if .shared -}}{{- $more = printf ", shared by %d" (int64 .shared) -}}{{- end -}}
{{- if not (get (get $runtimes .vendor) "enabled") -}}{{- $more = printf "%s, without a runtime: see runtimes.%s" $more .vendor -}}{{- end -}}
{{- $there = append $there (printf "%d x %s (%d GiB%s)" (int64 .count) .name (int64 .memoryGiB) $more) -}}
{{- end -}}
{{- $need := printf "%s GiB (%s GiB of weights, %s GiB of KV cache for %d tokens) and %d GiB on each GPU"
  (include "model-serving.gib" (add .need.weights .need.cache))
  (include "model-serving.gib" .need.weights)
  (include "model-serving.gib" .need.cache)
  (int64 .need.tokens) (int64 .sizing.overheadGiB) -}}
{{- $pods := "" -}}
{{- if gt (int64 $model.replicas) 1 -}}{{- $pods = printf ", in %d pods" (int64 $model.replicas) -}}{{- end -}}
{{- $heads := "" -}}
{{- if $model.attentionHeads -}}{{- $heads = printf "; GPUs that share it have to divide its %d attention heads" (int64 $model.attentionHeads) -}}{{- end -}}
{{- if $model.keyValueHeads -}}{{- $heads = printf "%s and the %d of keys and values" $heads (int64 $model.keyValueHeads) -}}{{- end -}}
{{- $wanted := "" -}}
{{- if and (ne .gpu "auto") (ne .gpu "none") -}}{{- $wanted = printf " of %s" .gpu -}}{{- end -}}
{{- $site := printf "the site has: %s" (join ", " $there) -}}
{{- if not $there -}}
{{- $site = print "no GPU of the site is known (if nodes have some, write an inventory with caisson nodes and "
  "name it under gpu.nodes in the site file)" -}}
{{- end -}}
{{- fail (printf (print
  "model-serving: no free GPU%s is fit for model %s: it takes %s%s%s; %s. Servers use %d%% of a GPU, whole GPUs "
  "alone are put together, and a shared one has to be named. Try a smaller contextLength, fewer replicas, another "
  "gpu, serve: false, or cpu: true, which serves up to %d GiB on CPU")
  $wanted $model.name $need $pods $heads $site (int64 .sizing.utilization) (int64 .sizing.cpuMaxGiB)) -}}
{{- end -}}

{{/* Where every wanted model runs, as JSON. */}}
{{- define "model-serving.placed" -}}
{{- $root := . -}}
{{- $sizing := .Values.sizing -}}
{{- $taken := dict -}}
{{- $out := list -}}
{{- range $model := include "model-serving.wanted" . | fromJsonArray -}}
{{- $need := include "model-serving.need" (dict "model" $model "sizing" $sizing) | fromJson -}}
{{- $gpu := default "auto" $model.gpu -}}
{{- $candidates := include "model-serving.candidates" (dict "gpu" $gpu "gpus" $root.Values.site.gpus "runtimes" $root.Values.runtimes) | fromJsonArray -}}
{{- $chosen := include "model-serving.choose" (dict "model" $model "need" $need "candidates" $candidates "sizing" $sizing "taken" $taken) | fromJson -}}
{{- $small := le (add $need.weights $need.cache) (mul (int64 $sizing.cpuMaxGiB) 1024) -}}
{{- $tiny := le (add $need.weights $need.cache) (mul (int64 $sizing.cpuAnywayGiB) 1024) -}}
{{- if and (not $chosen) (not (and $root.Values.runtimes.cpu.enabled $small (or (eq $gpu "none") $model.cpu (and $tiny (eq $gpu "auto"))))) -}}
{{- include "model-serving.refuse" (dict "model" $model "need" $need "gpus" $root.Values.site.gpus "gpu" $gpu "sizing" $sizing "runtimes" $root.Values.runtimes) -}}
{{- end -}}
{{- if $chosen -}}
{{- $used := add (int64 (default 0 (get $taken $chosen.kind.name))) (mul (int64 (default 1 $model.replicas)) (int64 $chosen.gpus)) -}}
{{- $_ := set $taken $chosen.kind.name $used -}}
{{- end -}}
{{- $out = append $out (dict "model" $model "need" $need "chosen" $chosen) -}}
{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{/* How models reach pods at this site: image, modelcar or hub. */}}
{{- define "model-serving.form" -}}
{{- if ne .Values.modelForm "auto" -}}{{ .Values.modelForm }}
{{- else if .Values.site.kubernetes.imageVolumes -}}image
{{- else if .Values.modelImagesHaveShell -}}modelcar
{{- else if .Values.site.hub -}}hub
{{- else -}}
{{- fail (print
  "model-serving: pods get no models here: images are mounted by Kubernetes 1.35 with containerd 2.1 or CRI-O 1.33 on "
  "every node, and what is older downloads models from the site's hub, of which the site file says nothing. Start one "
  "with caisson serve PATH --key KEY --listen ADDRESS:8080 and write hub: http://ADDRESS:8080 into the site file; by "
  "Helm alone, set site.hub") -}}
{{- end -}}
{{- end -}}

{{- define "model-serving.uri" -}}
{{- if eq .form "hub" -}}hf://{{ .model.repository }}:{{ .model.revision }}
{{- else if eq .form "modelcar" -}}oci://{{ .model.image }}
{{- else -}}oci+native://{{ .model.image }}
{{- end -}}
{{- end -}}

{{/* Peers that answer names. */}}
{{- define "model-serving.dns" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
      podSelector:
        matchLabels:
          {{- default (dict "k8s-app" "kube-dns") .podLabels | toYaml | nindent 10 }}
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* The site's hub: a Service of the cluster by its name, else any address of the site. */}}
{{- define "model-serving.hub" -}}
{{- $url := urlParse .Values.site.hub -}}
{{- $host := splitList ":" $url.host | first -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- $parts := splitList "." $host -}}
- to:
    {{- if and (ge (len $parts) 3) (eq (index $parts 2) "svc") }}
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ index $parts 1 }}}
    {{- else }}
    {{- range .Values.networkPolicy.siteCIDRs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
    {{- end }}
  ports:
    - {port: {{ $port }}, protocol: TCP}
{{- end -}}
