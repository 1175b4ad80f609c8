{{- define "waggle.image" -}}
{{- $i := .Values.image -}}
{{- if not $i.digest }}{{ fail "image.digest is needed: sha256:... of the image that you have built (docs/install.md)" }}{{ end -}}
{{- if $i.registry }}{{ $i.registry }}/{{ end }}{{ $i.repository }}@{{ $i.digest }}
{{- end }}

{{- define "waggle.labels" -}}
app.kubernetes.io/name: waggle
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: waggle
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "waggle.selector" -}}
app.kubernetes.io/name: waggle
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Arguments that serve metrics: loopback always, the network where there are certificates. */ -}}
{{- define "waggle.metricsArgs" -}}
- --metrics-listen=[127.0.0.1]:{{ .loopback }}
{{- if .root.Values.metrics.tlsSecretName }}
- --metrics-listen=[{{ .address }}]:{{ .port }}
- --metrics-cert=/etc/waggle/metrics/tls.crt
- --metrics-key=/etc/waggle/metrics/tls.key
- --metrics-client-ca=/etc/waggle/metrics/ca.crt
{{- end }}
{{- end }}

{{- define "waggle.probes" -}}
startupProbe:
  exec: { command: [/opt/waggle/bin/waggle, health, --live, "--address=127.0.0.1:{{ . }}"] }
  periodSeconds: 2
  failureThreshold: 60
  timeoutSeconds: 5
livenessProbe:
  exec: { command: [/opt/waggle/bin/waggle, health, --live, "--address=127.0.0.1:{{ . }}", --timeout=10s] }
  periodSeconds: 60
  failureThreshold: 5
  timeoutSeconds: 15
readinessProbe:
  exec: { command: [/opt/waggle/bin/waggle, health, "--address=127.0.0.1:{{ . }}"] }
  periodSeconds: 30
  timeoutSeconds: 5
{{- end }}
