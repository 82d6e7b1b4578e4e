package kube

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// ChunkSize is the most payload one Secret of a record holds. Kubernetes allows
// 1 MiB in a Secret.
const ChunkSize = 900 << 10

// maxRecord bounds an unpacked record.
const maxRecord = 256 << 20

// Errors of Records.
var (
	ErrExists   = errors.New("the record exists")
	ErrNoRecord = errors.New("no such record")
	ErrConflict = errors.New("the record was changed by somebody else")
	ErrDamaged  = errors.New("the record is damaged")
)

const (
	recordType     = corev1.SecretType("caisson.dev/record.v1")
	labelOwner     = "owner"
	labelPart      = "caisson.dev/part"
	labelRecord    = "caisson.dev/record" // of a chunk: digest of its head's name
	partHead       = "head"
	partChunk      = "chunk"
	annotationSum  = "caisson.dev/digest" // of the payload, unpacked
	annotationPack = "caisson.dev/packed" // of the packed bytes
	annotationNum  = "caisson.dev/chunks"
	dataKey        = "record"
)

// Records keeps named byte strings of any size in the Secrets of one namespace.
//
// A record is one head Secret, which holds the packed payload itself when it
// fits, else names chunk Secrets of at most ChunkSize. Chunks are immutable,
// named by the digest of what they belong to and written before the head; so a
// reader that finds a head finds a whole record, and a writer that dies leaves
// the former one in place. Writers exclude each other by the head's version.
type Records struct {
	secrets typedcorev1.SecretInterface
}

// Record is one stored byte string.
type Record struct {
	Name    string
	Labels  map[string]string // without the store's own
	Payload []byte
	Version string // of the head; give it to Update
}

// Records opens the store of a namespace.
func (c *Client) Records(namespace string) Records {
	return Records{c.Core.CoreV1().Secrets(namespace)}
}

// Create writes a new record. An existing one is ErrExists.
func (r Records) Create(ctx context.Context, rec Record) (version string, err error) {
	head, err := r.writeChunks(ctx, rec)
	if err != nil {
		return "", err
	}
	made, err := r.secrets.Create(ctx, head, metav1.CreateOptions{FieldManager: Manager})
	if apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("creating record %s: %w", rec.Name, ErrExists)
	}
	if err != nil {
		return "", fmt.Errorf("creating record %s: %w", rec.Name, err)
	}
	return made.ResourceVersion, nil
}

// Update replaces a record. With a Version it must still be that one, else
// ErrConflict; without, whatever is there is replaced. A missing one is
// ErrNoRecord.
func (r Records) Update(ctx context.Context, rec Record) (version string, err error) {
	if _, err := r.secrets.Get(ctx, rec.Name, metav1.GetOptions{}); err != nil {
		return "", fmt.Errorf("updating record %s: %w", rec.Name, asMissing(err))
	}
	head, err := r.writeChunks(ctx, rec)
	if err != nil {
		return "", err
	}
	head.ResourceVersion = rec.Version
	made, err := r.secrets.Update(ctx, head, metav1.UpdateOptions{FieldManager: Manager})
	if apierrors.IsConflict(err) {
		return "", fmt.Errorf("updating record %s: %w", rec.Name, ErrConflict)
	}
	if err != nil {
		return "", fmt.Errorf("updating record %s: %w", rec.Name, asMissing(err))
	}
	return made.ResourceVersion, r.deleteOtherChunks(ctx, rec.Name, made.Annotations[annotationPack])
}

func asMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return ErrNoRecord
	}
	return err
}

// writeChunks packs the payload, writes its chunks and returns the head to write.
func (r Records) writeChunks(ctx context.Context, rec Record) (*corev1.Secret, error) {
	packed, err := compressPayload(rec.Payload)
	if err != nil {
		return nil, fmt.Errorf("packing record %s: %w", rec.Name, err)
	}
	sum := digest.FromBytes(packed)
	head := &corev1.Secret{Type: recordType, ObjectMeta: metav1.ObjectMeta{
		Name:        rec.Name,
		Labels:      ownLabels(rec.Labels, partHead),
		Annotations: map[string]string{annotationSum: digest.FromBytes(rec.Payload).String(), annotationPack: sum.String()},
	}}
	if len(packed) <= ChunkSize {
		head.Data = map[string][]byte{dataKey: packed}
		return head, nil
	}
	n := 0
	for chunk := range slices.Chunk(packed, ChunkSize) {
		if err := r.writeChunk(ctx, rec.Name, sum, n, chunk); err != nil {
			return nil, fmt.Errorf("writing chunk %d of record %s: %w", n, rec.Name, err)
		}
		n++
	}
	head.Annotations[annotationNum] = strconv.Itoa(n)
	return head, nil
}

func ownLabels(given map[string]string, part string) map[string]string {
	out := map[string]string{labelOwner: Manager, labelPart: part}
	for k, v := range given {
		if k != labelOwner {
			out[k] = v
		}
	}
	return out
}

func (r Records) writeChunk(ctx context.Context, name string, sum digest.Digest, n int, data []byte) error {
	immutable := true
	_, err := r.secrets.Create(ctx, &corev1.Secret{
		Type: recordType, Immutable: &immutable, Data: map[string][]byte{dataKey: data},
		ObjectMeta: metav1.ObjectMeta{
			Name:        chunkName(name, sum, n),
			Labels:      ownLabels(map[string]string{labelRecord: shortDigest(name), "caisson.dev/chunk": strconv.Itoa(n)}, partChunk),
			Annotations: map[string]string{annotationPack: sum.String()},
		},
	}, metav1.CreateOptions{FieldManager: Manager})
	if apierrors.IsAlreadyExists(err) {
		return nil // same name, same content: an earlier attempt
	}
	return err
}

// chunkName is deterministic: same head, same content, same names.
func chunkName(head string, sum digest.Digest, n int) string {
	return fmt.Sprintf("%s.%s.%d", head, sum.Encoded()[:16], n)
}

func shortDigest(name string) string { return digest.FromString(name).Encoded()[:32] }

// deleteOtherChunks deletes chunks of a record that belong to other contents than keep.
func (r Records) deleteOtherChunks(ctx context.Context, name, keep string) error {
	list, err := r.secrets.List(ctx, metav1.ListOptions{LabelSelector: labels.Set{labelPart: partChunk, labelRecord: shortDigest(name)}.String()})
	if err != nil {
		return fmt.Errorf("listing chunks of record %s: %w", name, err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		if s.Annotations[annotationPack] == keep || !strings.HasPrefix(s.Name, name+".") {
			continue
		}
		if err := r.secrets.Delete(ctx, s.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting chunk %s: %w", s.Name, err)
		}
	}
	return nil
}

// Get reads a record. A missing one is ErrNoRecord; one whose bytes are not
// what its head says is ErrDamaged.
func (r Records) Get(ctx context.Context, name string) (Record, error) {
	head, err := r.secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Record{}, fmt.Errorf("reading record %s: %w", name, asMissing(err))
	}
	rec, err := r.readRecord(ctx, head)
	if err != nil {
		return Record{}, fmt.Errorf("reading record %s: %w", name, err)
	}
	return rec, nil
}

// List reads all records whose labels contain the given ones, sorted by name. A
// damaged record is left out and reported in err beside the good ones.
func (r Records) List(ctx context.Context, match map[string]string) ([]Record, error) {
	list, err := r.secrets.List(ctx, metav1.ListOptions{LabelSelector: labels.Set(ownLabels(match, partHead)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	var out []Record
	var errs []error
	for i := range list.Items {
		rec, err := r.readRecord(ctx, &list.Items[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("reading record %s: %w", list.Items[i].Name, err))
			continue
		}
		out = append(out, rec)
	}
	return out, errors.Join(errs...)
}

func (r Records) readRecord(ctx context.Context, head *corev1.Secret) (Record, error) {
	rec := Record{Name: head.Name, Version: head.ResourceVersion, Labels: map[string]string{}}
	for k, v := range head.Labels {
		if k != labelOwner && k != labelPart {
			rec.Labels[k] = v
		}
	}
	packed, err := r.readPacked(ctx, head)
	if err != nil {
		return rec, err
	}
	if rec.Payload, err = decompressPayload(packed); err != nil {
		return rec, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if digest.FromBytes(rec.Payload).String() != head.Annotations[annotationSum] {
		return rec, fmt.Errorf("%w: its digest differs", ErrDamaged)
	}
	return rec, nil
}

func (r Records) readPacked(ctx context.Context, head *corev1.Secret) ([]byte, error) {
	if data, ok := head.Data[dataKey]; ok {
		return data, nil
	}
	n, err := strconv.Atoi(head.Annotations[annotationNum])
	if err != nil || n < 0 || n > maxRecord/ChunkSize {
		return nil, fmt.Errorf("%w: %s says %q", ErrDamaged, annotationNum, head.Annotations[annotationNum])
	}
	sum := digest.Digest(head.Annotations[annotationPack])
	if err := sum.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, annotationPack, err)
	}
	var packed []byte
	for i := range n {
		s, err := r.secrets.Get(ctx, chunkName(head.Name, sum, i), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%w: chunk %d of %d is missing", ErrDamaged, i, n)
		}
		if err != nil {
			return nil, err
		}
		packed = append(packed, s.Data[dataKey]...)
	}
	return packed, nil
}

// Delete removes a record, head first. A missing one is ErrNoRecord.
func (r Records) Delete(ctx context.Context, name string) error {
	if err := r.secrets.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting record %s: %w", name, asMissing(err))
	}
	return r.deleteOtherChunks(ctx, name, "")
}

// compressPayload compresses; equal payloads give equal bytes.
func compressPayload(payload []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(payload); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func decompressPayload(packed []byte) ([]byte, error) {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	payload, err := io.ReadAll(io.LimitReader(zr, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(payload) > maxRecord {
		return nil, fmt.Errorf("more than %d bytes", maxRecord)
	}
	return payload, nil
}

// Names lists the names of records whose labels contain the given ones.
func (r Records) Names(ctx context.Context, match map[string]string) ([]string, error) {
	list, err := r.secrets.List(ctx, metav1.ListOptions{LabelSelector: labels.Set(ownLabels(match, partHead)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return names, nil
}
