{{- define "gpu-queues.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The teams, or the one that stands for all. */}}
{{- define "gpu-queues.teams" -}}
{{- $teams := .Values.teams -}}
{{- if not $teams -}}
{{- $teams = list (dict "name" "everyone" "namespaces" (list .Values.defaultNamespace) "open" true) -}}
{{- end -}}
{{- toJson $teams -}}
{{- end -}}

{{/*
The kinds of GPU of a vendor, those with the most memory first: a job that asks for no
kind gets what surely suffices. Kueue tries flavors in this order.
*/}}
{{- define "gpu-queues.ordered" -}}
{{- $byKey := dict -}}
{{- range . -}}
{{- $key := printf "%08d %s" (sub 10000000 (int64 .memoryGiB)) .name -}}
{{- if hasKey $byKey $key -}}{{- fail (printf "gpu-queues: site.gpus has two entries named %s" .name) -}}{{- end -}}
{{- $_ := set $byKey $key . -}}
{{- end -}}
{{- $out := list -}}
{{- range keys $byKey | sortAlpha -}}{{- $out = append $out (get $byKey .) -}}{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{/*
The resource groups, as JSON: of each its covered resources and its flavors, and of each
flavor what it offers, in the order of the covered resources. CPU and memory are a group
of their own, so that a job gets them from any node; each vendor's GPUs are one more.
*/}}
{{- define "gpu-queues.groups" -}}
{{- $cpu := list
  (dict "name" "cpu" "key" "cpus" "unit" "" "unlimited" (eq (int64 .Values.cpu.cpus) 0) "total" (int64 .Values.cpu.cpus))
  (dict "name" "memory" "key" "memoryGiB" "unit" "Gi" "unlimited" (eq (int64 .Values.cpu.memoryGiB) 0) "total" (int64 .Values.cpu.memoryGiB)) -}}
{{- $groups := list (dict "resources" (list "cpu" "memory") "flavors" (list (dict "name" "cpu" "offers" $cpu))) -}}
{{- $vendors := dict -}}
{{- range .Values.site.gpus -}}
{{- $_ := set $vendors .vendor (append (default list (get $vendors .vendor)) .) -}}
{{- end -}}
{{- $reserved := .Values.reserved -}}
{{- $held := default dict .Values.site.reserved -}}
{{- range $vendor := keys $vendors | sortAlpha -}}
{{- $kinds := include "gpu-queues.ordered" (get $vendors $vendor) | fromJsonArray -}}
{{- $names := dict -}}
{{- range $kinds -}}{{- $_ := set $names .resource true -}}{{- end -}}
{{- $resources := keys $names | sortAlpha -}}
{{- if or (gt (len $kinds) 64) (gt (len $resources) 64) (gt (mul (len $kinds) (len $resources)) 512) -}}
{{- fail (printf (print
  "gpu-queues: the site has %d kinds of %s GPUs with %d resources; "
  "Kueue takes 64 of each in a group, and 512 pairs") (len $kinds) $vendor (len $resources)) -}}
{{- end -}}
{{- $flavors := list -}}
{{- range $kind := $kinds -}}
{{- $left := sub (int64 $kind.count) (int64 (default 0 (get $reserved $kind.name))) -}}
{{- if lt $left 0 -}}
{{- fail (printf "gpu-queues: %d of %s are reserved, and the site has %d" (int64 (get $reserved $kind.name)) $kind.name (int64 $kind.count)) -}}
{{- end -}}
{{- $taken := printf "%d, of which pods of the plan hold %d and %d are reserved"
  (int64 $kind.count) (int64 (default 0 (get $held $kind.name))) (int64 (default 0 (get $reserved $kind.name))) -}}
{{- $left = max 0 (sub $left (int64 (default 0 (get $held $kind.name)))) -}}
{{- $why := ternary (printf " (%s)" $taken) "" (lt $left (int64 $kind.count)) -}}
{{- $offers := list -}}
{{- range $resource := $resources -}}
{{- $total := ternary $left 0 (eq $resource $kind.resource) -}}
{{- $key := ternary $kind.name "" (eq $resource $kind.resource) -}}
{{- $offers = append $offers (dict "name" $resource "key" $key "unit" "" "unlimited" false "total" $total "why" $why) -}}
{{- end -}}
{{- $flavors = append $flavors (dict "name" $kind.name "offers" $offers) -}}
{{- end -}}
{{- $groups = append $groups (dict "resources" $resources "flavors" $flavors) -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* Refuses what cannot be: names twice, a kind that is not there. */}}
{{- define "gpu-queues.check" -}}
{{- $owner := dict -}}
{{- $teams := dict -}}
{{- $known := list -}}
{{- range .Values.site.gpus -}}
{{- if has .name $known -}}{{- fail (printf "gpu-queues: site.gpus has two entries named %s" .name) -}}{{- end -}}
{{- if has .name (list "cpu" "cpus" "memoryGiB") -}}{{- fail (printf "gpu-queues: a kind of GPU cannot be named %s" .name) -}}{{- end -}}
{{- $known = append $known .name -}}
{{- end -}}
{{- $there := printf "which the site does not have; it has: %s" (join ", " (sortAlpha $known)) -}}
{{- if not $known -}}
{{- $there = print "and no GPU of the site is known: write an inventory with caisson nodes and name it under "
  "gpu.nodes in the site file, or say what there is in site.gpus" -}}
{{- end -}}
{{- range $team := .Values.teams -}}
{{- if hasKey $teams $team.name -}}{{- fail (printf "gpu-queues: two teams are named %s" $team.name) -}}{{- end -}}
{{- $_ := set $teams $team.name true -}}
{{- range $team.namespaces -}}
{{- if hasKey $owner . -}}
{{- fail (printf "gpu-queues: namespace %s belongs to team %s and to team %s; Kueue sends it to one queue" . (get $owner .) $team.name) -}}
{{- end -}}
{{- $_ := set $owner . $team.name -}}
{{- end -}}
{{- range $kind, $_ := $team.guaranteed -}}
{{- if not (has $kind (concat $known (list "cpus" "memoryGiB"))) -}}
{{- fail (printf "gpu-queues: team %s is guaranteed %s, %s" $team.name $kind $there) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind, $_ := .Values.reserved -}}
{{- if not (has $kind $known) -}}
{{- fail (printf "gpu-queues: %s is reserved, %s" $kind $there) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
How an offer is parted, as JSON: a number for each team, and what is left for the pool.
What is guaranteed goes first, the rest by weight, rounded down: the sum is never more
than the offer.
*/}}
{{- define "gpu-queues.parts" -}}
{{- $offer := .offer -}}
{{- $promised := 0 -}}
{{- $weights := 0 -}}
{{- range .teams -}}
{{- if hasKey (default dict .guaranteed) $offer.key -}}
{{- $promised = add $promised (int64 (get .guaranteed $offer.key)) -}}
{{- else -}}
{{- $weights = add $weights (ternary (int64 .weight) 1 (hasKey . "weight")) -}}
{{- end -}}
{{- end -}}
{{- if and (gt $promised (int64 $offer.total)) (not $offer.unlimited) -}}
{{- fail (printf "gpu-queues: teams are guaranteed %d of %s, and the site has %d for them%s" $promised $offer.key (int64 $offer.total) (default "" $offer.why)) -}}
{{- end -}}
{{- $rest := sub (int64 $offer.total) $promised -}}
{{- $pool := $rest -}}
{{- $parts := dict -}}
{{- range .teams -}}
{{- $part := 0 -}}
{{- if hasKey (default dict .guaranteed) $offer.key -}}
{{- $part = int64 (get .guaranteed $offer.key) -}}
{{- else if gt $weights 0 -}}
{{- $part = div (mul $rest (ternary (int64 .weight) 1 (hasKey . "weight"))) $weights -}}
{{- $pool = sub $pool $part -}}
{{- end -}}
{{- $_ := set $parts .name $part -}}
{{- end -}}
{{- toJson (dict "parts" $parts "pool" $pool) -}}
{{- end -}}

{{/*
The quota of an offer: a number with its unit. Where the site's CPU and memory are not
known, it is more than there can be: then Kubernetes alone says what fits.
*/}}
{{- define "gpu-queues.quantity" -}}
{{- if .offer.unlimited -}}{{ .unlimited }}{{ ternary .offer.unit "" (ne .unlimited "0") }}
{{- else if eq (int64 .part) 0 -}}0
{{- else -}}{{ int64 .part }}{{ .offer.unit }}
{{- end -}}
{{- end -}}

{{/* The resource groups of one queue, or of the cohort where team is empty. */}}
{{- define "gpu-queues.resourceGroups" -}}
{{- $team := .team -}}
{{- $teams := .teams -}}
{{- range $group := .groups }}
- coveredResources:
    {{- toYaml $group.resources | nindent 4 }}
  flavors:
    {{- range $flavor := $group.flavors }}
    - name: {{ $flavor.name }}
      resources:
        {{- range $offer := $flavor.offers }}
        {{- $part := 0 }}
        {{- if $offer.key }}
        {{- $parted := include "gpu-queues.parts" (dict "offer" $offer "teams" $teams) | fromJson }}
        {{- $part = ternary $parted.pool (get $parted.parts (default "" $team.name)) (empty $team) }}
        {{- end }}
        {{- $unlimited := ternary "0" "100000" (empty $team) }}
        - name: {{ $offer.name | quote }}
          nominalQuota: {{ include "gpu-queues.quantity" (dict "offer" $offer "part" $part "unlimited" $unlimited) | quote }}
          {{- if and $team (hasKey $team "borrow") (not $team.borrow) }}
          borrowingLimit: "0"
          {{- end }}
        {{- end }}
    {{- end }}
{{- end }}
{{- end -}}
