package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Every Service is served with a certificate of one authority, which is written wherever
// kube-apiserver is told whom to believe, as cert-manager's injector or the operator itself
// would do. A bundle that is there already is replaced: operators that renew their keys do
// the same, and no Secret has to be read.

// webhookConfigurations are those of one sort, Mutating or Validating.
func webhookConfigurations(sort string) schema.GroupVersionResource {
	resource := strings.ToLower(sort) + "webhookconfigurations"
	return schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
}

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

func (o *operators) bundle() string { return base64.StdEncoding.EncodeToString(o.ca.caPEM) }

// trustWebhooks is for both kinds of webhook configurations.
func (o *operators) trustWebhooks(ctx context.Context, u *unstructured.Unstructured) error {
	copied := u.DeepCopy()
	hooks, _, _ := unstructured.NestedFieldNoCopy(copied.Object, "webhooks")
	list, _ := hooks.([]any)
	changed := false
	for _, e := range list {
		hook, _ := e.(map[string]any)
		client, _ := hook["clientConfig"].(map[string]any)
		if client["service"] != nil && client["caBundle"] != o.bundle() {
			client["caBundle"] = o.bundle()
			changed = true
		}
	}
	if !changed {
		return nil
	}
	r := webhookConfigurations(strings.TrimSuffix(u.GetKind(), "WebhookConfiguration"))
	_, err := o.objects.Resource(r).Update(ctx, copied, metav1.UpdateOptions{FieldManager: pretendOperators})
	return err
}

func (o *operators) trustAPIService(ctx context.Context, u *unstructured.Unstructured) error {
	service, _, _ := unstructured.NestedMap(u.Object, "spec", "service")
	blind, _, _ := unstructured.NestedBool(u.Object, "spec", "insecureSkipTLSVerify")
	if service == nil || blind {
		return nil
	}
	return o.trust(ctx, apiServices, u, "spec", "caBundle")
}

func (o *operators) trustConversion(ctx context.Context, u *unstructured.Unstructured) error {
	at := []string{"spec", "conversion", "webhook", "clientConfig"}
	if service, _, _ := unstructured.NestedMap(u.Object, append(at, "service")...); service == nil {
		return nil
	}
	return o.trust(ctx, definitions, u, append(at, "caBundle")...)
}

// trust sets one field to the bundle.
func (o *operators) trust(
	ctx context.Context, r schema.GroupVersionResource, u *unstructured.Unstructured, field ...string,
) error {
	if have, _, _ := unstructured.NestedString(u.Object, field...); have == o.bundle() {
		return nil
	}
	patch := map[string]any{}
	if err := unstructured.SetNestedField(patch, o.bundle(), field...); err != nil {
		return err
	}
	b, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	ours := metav1.PatchOptions{FieldManager: pretendOperators}
	_, err = o.objects.Resource(r).Patch(ctx, u.GetName(), types.MergePatchType, b, ours)
	return err
}

// issueSecret makes the Secret that a Certificate of cert-manager asks for.
func (o *operators) issueSecret(ctx context.Context, u *unstructured.Unstructured) error {
	name, _, _ := unstructured.NestedString(u.Object, "spec", "secretName")
	hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "dnsNames")
	_, err := o.client.CoreV1().Secrets(u.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	key := "secret." + u.GetNamespace() + "." + name
	if err := o.ca.server(key, hosts, nil); err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"cert-manager.io/certificate-name": u.GetName()},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"ca.crt": o.ca.caPEM},
	}
	for entry, file := range map[string]string{corev1.TLSCertKey: key + ".crt", corev1.TLSPrivateKeyKey: key + ".key"} {
		if secret.Data[entry], err = os.ReadFile(filepath.Join(o.ca.dir, file)); err != nil {
			return err
		}
	}
	ours := metav1.CreateOptions{FieldManager: pretendOperators}
	_, err = o.client.CoreV1().Secrets(u.GetNamespace()).Create(ctx, secret, ours)
	return err
}
