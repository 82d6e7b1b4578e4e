package kube

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// listLasts is how long a list serves other searches: those of the same moment.
const listLasts = time.Second

// sharedLists are the lists that searches look through. Many targets that are waited for
// are asked about at once, and most of them stand in one namespace.
type sharedLists struct {
	mu  sync.Mutex
	all map[string]*sharedList
}

type sharedList struct {
	users int // under the lock of sharedLists

	mu    sync.Mutex
	until time.Time
	found any
}

func newSharedLists() *sharedLists { return &sharedLists{all: map[string]*sharedList{}} }

// take is the list under a key, for one that looks through it. What ran out goes.
func (s *sharedLists) take(key string) *sharedList {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, l := range s.all {
		if other != key && l.users == 0 && time.Now().After(l.until) {
			delete(s.all, other)
		}
	}
	l := s.all[key]
	if l == nil {
		l = &sharedList{}
		s.all[key] = l
	}
	l.users++
	return l
}

func (s *sharedLists) giveBack(l *sharedList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.users--
}

// listOnce lists, or takes what another search listed a moment ago. Nobody may change it.
func listOnce[T any](s *sharedLists, key string, list func() (T, error)) (T, error) {
	l := s.take(key)
	defer s.giveBack(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if found, ok := l.found.(T); ok && time.Now().Before(l.until) {
		return found, nil
	}
	found, err := list()
	if err == nil {
		l.found, l.until = found, time.Now().Add(listLasts)
	}
	return found, err
}

// behindOptions are how a search lists: within a namespace the server need not ask its
// store. Then it heeds no limit, so that all namespaces are asked of the store.
func behindOptions(namespace string) metav1.ListOptions {
	if namespace == "" {
		return metav1.ListOptions{Limit: maxBehind}
	}
	return metav1.ListOptions{ResourceVersion: "0"}
}

func (s *search) pods(ctx context.Context) (*corev1.PodList, error) {
	return listOnce(s.lists, "pods in "+s.namespace, func() (*corev1.PodList, error) {
		return s.Core.CoreV1().Pods(s.namespace).List(ctx, behindOptions(s.namespace))
	})
}

func (s *search) claims(ctx context.Context) (*corev1.PersistentVolumeClaimList, error) {
	return listOnce(s.lists, "claims in "+s.namespace, func() (*corev1.PersistentVolumeClaimList, error) {
		return s.Core.CoreV1().PersistentVolumeClaims(s.namespace).List(ctx, behindOptions(s.namespace))
	})
}

func (s *search) objects(ctx context.Context, kind schema.GroupVersionKind) (*unstructured.UnstructuredList, error) {
	resource, _, err := s.resourceOfKind(kind)
	if err != nil {
		return nil, err
	}
	return listOnce(s.lists, kind.String()+" in "+s.namespace, func() (*unstructured.UnstructuredList, error) {
		return resource.Namespace(s.namespace).List(ctx, behindOptions(s.namespace))
	})
}
