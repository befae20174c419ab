{{/*
Values that came after the first version of the chart, with their defaults: `helm upgrade --reuse-values` takes the values of
the release that is there in place of those of this chart, and then has none of them. Every template that uses one begins
with this.
*/}}
{{- define "aixgo-operator.newer" -}}
{{- $newer := dict
  "certificates" (dict "rotationOverlapSeconds" 28800)
  "networkPolicy" (dict "enabled" true)
  "redisOperator" (dict "enabled" true)
  "uninstallHook" (dict "enabled" true "waitSeconds" 60)
-}}
{{- $_ := set . "Values" (mergeOverwrite $newer (deepCopy .Values)) -}}
{{- end -}}

{{- define "aixgo-operator.fullname" -}}
{{- /* Not the name of the release: there is one operator in a namespace, and its Lease and authority have fixed names. */ -}}
{{- default "aixgo-operator" .Values.fullnameOverride -}}
{{- end -}}

{{- define "aixgo-operator.selectorLabels" -}}
app.kubernetes.io/name: aixgo-operator
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "aixgo-operator.labels" -}}
{{ include "aixgo-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: aixgo
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "aixgo-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The operator's settings file; see operator/aixgo_operator/domain/settings.py. */}}
{{- define "aixgo-operator.settings" -}}
{{- $settings := dict
  "operatorNamespace" .Release.Namespace
  "clusterDomain" .Values.clusterDomain
  "trustDomain" .Values.trustDomain
  "runtimeImage" (default (printf "ghcr.io/aixgo/aixgo-runtime:%s" .Chart.AppVersion) .Values.runtime.image)
  "redisImage" .Values.redis.image
  "imagePullPolicy" .Values.workloads.imagePullPolicy
  "imagePullSecrets" .Values.workloads.imagePullSecrets
  "watchNamespaces" .Values.watchNamespaces
  "monitoringNamespaces" .Values.monitoringNamespaces
  "caDurationSeconds" (int64 .Values.certificates.authorityDurationSeconds)
  "caRotationOverlapSeconds" (int64 .Values.certificates.rotationOverlapSeconds)
  "redisCertificateDurationSeconds" (int64 .Values.certificates.redisDurationSeconds)
-}}
{{- toYaml (mergeOverwrite $settings (deepCopy .Values.settings)) -}}
{{- end -}}

{{/* What the operator does in every namespace that it works in. */}}
{{- define "aixgo-operator.rules" -}}
- apiGroups: [aixgo.dev]
  resources: [agentruntimes, agents, sessionbackends]
  verbs: [get, list, watch]
- apiGroups: [aixgo.dev]
  resources: [agentruntimes/status, agents/status, sessionbackends/status]
  verbs: [update]
# metadata.finalizers only: a SessionBackend in use is protected. No spec is ever written.
- apiGroups: [aixgo.dev]
  resources: [sessionbackends]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, configmaps, secrets, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# Volumes go with their owner, never by a request of the operator. But where the admission plugin
# OwnerReferencesPermissionEnforcement is on, only who may delete an object may change whom it belongs to, and that
# is what a changed deletionPolicy does.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.certManager.enabled }}
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.redisOperator.enabled }}
- apiGroups: [redis.redis.opstreelabs.in]
  resources: [redisreplications]
  verbs: [get]
{{- end }}
# Patched only for an annotation that makes the kubelet refresh a pod's files at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}


{{/* Labels of what runs before an uninstall. Not those that select the operator's pods. */}}
{{- define "aixgo-operator.uninstallLabels" -}}
app.kubernetes.io/name: aixgo-operator-uninstall
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/component: uninstall
app.kubernetes.io/part-of: aixgo
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Annotations of a hook of this weight. */}}
{{- define "aixgo-operator.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* What the hook does in every namespace that the operator works in: metadata.finalizers only. */}}
{{- define "aixgo-operator.uninstallRules" -}}
- apiGroups: [aixgo.dev]
  resources: [sessionbackends]
  verbs: [list, patch]
{{- end -}}
