{{- define "feature-store.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "feature-store.labels" -}}
{{ include "feature-store.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The image with the definitions has what they import, so the servers run it too. */}}
{{- define "feature-store.image" -}}
{{ default .Values.image .Values.repository.image }}
{{- end -}}

{{- define "feature-store.database" -}}
{{ .Release.Name }}-db
{{- end -}}

{{/*
How Feast reaches its stores, the same for the operator's pods and the schedule's. Names
in ${...} are environment variables: Feast puts them in when it reads its settings, so
that no secret is in an object of this chart.
*/}}
{{- define "feature-store.sql" -}}
path: postgresql+psycopg://${FEAST_DB_USER}:${FEAST_DB_PASSWORD}@{{ include "feature-store.database" . }}-rw:5432/feast?sslmode=verify-full&sslrootcert=/etc/feast/db/ca.crt
cache_ttl_seconds: 60
sqlalchemy_config_kwargs:
  echo: false
  pool_pre_ping: true
{{- end -}}

{{- define "feature-store.postgres" -}}
host: {{ include "feature-store.database" . }}-rw
port: 5432
database: feast
db_schema: public
user: ${FEAST_DB_USER}
password: ${FEAST_DB_PASSWORD}
sslmode: verify-full
sslrootcert_path: /etc/feast/db/ca.crt
{{- end -}}

{{- define "feature-store.redis" -}}
connection_string: {{ .Values.valkey.address }}{{ if .Values.valkey.passwordSecret.name }},password=${FEAST_VALKEY_PASSWORD}{{ end }}{{ if .Values.valkey.tls }},ssl=true{{ end }}
{{- end -}}

{{/* What ${...} stands for: CloudNativePG's own secret, and Valkey's. */}}
{{- define "feature-store.env" -}}
- name: FEAST_DB_USER
  valueFrom: {secretKeyRef: {name: {{ include "feature-store.database" . }}-app, key: username}}
- name: FEAST_DB_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "feature-store.database" . }}-app, key: password}}
{{- with .Values.valkey.passwordSecret }}
{{- if .name }}
- name: FEAST_VALKEY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}}
{{- end }}
{{- end }}
- {name: FEAST_USAGE, value: "False"}
- {name: DO_NOT_TRACK, value: "1"}
{{- end -}}

{{- define "feature-store.mounts" -}}
- {name: database-ca, mountPath: /etc/feast/db, readOnly: true}
{{- end -}}

{{- define "feature-store.volumes" -}}
- name: database-ca
  secret:
    secretName: {{ include "feature-store.database" . }}-ca
    items: [{key: ca.crt, path: ca.crt}]
{{- end -}}

{{- define "feature-store.server" -}}
image: {{ include "feature-store.image" .root | quote }}
env:
  {{- include "feature-store.env" .root | nindent 2 }}
volumeMounts:
  {{- include "feature-store.mounts" .root | nindent 2 }}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "feature-store.dns" -}}
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

{{/* What Feast asks: names, its database, Valkey. */}}
{{- define "feature-store.egress" -}}
{{- include "feature-store.dns" .Values.networkPolicy.dns }}
- to:
    - podSelector:
        matchLabels: {cnpg.io/cluster: {{ include "feature-store.database" . }}}
  ports:
    - {port: 5432, protocol: TCP}
{{- with .Values.networkPolicy.valkey }}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ default $.Release.Namespace .namespace }}}
      podSelector:
        matchLabels:
          {{- default (dict "app.kubernetes.io/name" "valkey") .podLabels | toYaml | nindent 10 }}
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    - {port: {{ splitList ":" $.Values.valkey.address | last }}, protocol: TCP}
{{- end }}
{{- end -}}
