// Package archive keeps journals, and the documents that they name by digest, in
// two places: the cluster, which is the authority, and the state directory, which
// is a copy for when the cluster does not answer.
//
// It decides nothing, and changes nothing in a cluster but its own records.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/client/kube"
)

// Names and labels of the records.
const (
	labelKind   = "caisson.dev/kind"
	labelStack  = "caisson.dev/stack"
	kindJournal = "journal"
	kindPlan    = "plan"
	kindLock    = "lock"
	kindLedger  = "ledger"
	kindObjects = "objects"
)

// Store keeps journals in the cluster and copies them to a directory.
type Store struct {
	records kube.Records
	cluster string
	dir     string // "" for no copy
	version string // of the journal record last read or written
}

// Open opens the store of a cluster, whose UID is given. dir is the state
// directory; see Dir.
func Open(c *kube.Client, uid, dir string) *Store {
	s := &Store{records: c.Records(kube.SystemNamespace), cluster: uid}
	if dir != "" {
		s.dir = filepath.Join(dir, uid)
	}
	return s
}

// Dir is the state directory: given, or below XDG_STATE_HOME, or
// ~/.local/state/caisson.
func Dir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if x := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(x) {
		return filepath.Join(x, "caisson"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the state directory: %w", err)
	}
	return filepath.Join(home, ".local", "state", "caisson"), nil
}

// Stacks lists the stacks that have a journal in the cluster, sorted.
func (s *Store) Stacks(ctx context.Context) ([]string, error) {
	found, err := s.records.List(ctx, map[string]string{labelKind: kindJournal})
	if err != nil && len(found) == 0 {
		return nil, fmt.Errorf("listing journals: %w", err)
	}
	var out []string
	for _, r := range found {
		out = append(out, r.Labels[labelStack])
	}
	return out, nil
}

// Load reads a stack's journal from the cluster. There being none is ErrNone.
func (s *Store) Load(ctx context.Context, stack string) (*journal.Journal, error) {
	rec, err := s.records.Get(ctx, journalName(stack))
	if errors.Is(err, kube.ErrNoRecord) {
		return nil, fmt.Errorf("reading the journal of stack %s: %w", stack, journal.ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal of stack %s: %w", stack, err)
	}
	j, err := journal.Parse(rec.Payload)
	if err != nil {
		return nil, fmt.Errorf("reading the journal of stack %s: %w", stack, err)
	}
	s.version = rec.Version
	return j, nil
}

// Save writes a journal to the cluster, then to disk. The cluster's copy must
// still be the one that this Store read or wrote last, else ErrChanged.
func (s *Store) Save(ctx context.Context, j *journal.Journal) error {
	payload, err := j.Marshal()
	if err != nil {
		return err
	}
	rec := kube.Record{Name: journalName(j.Stack), Payload: payload, Version: s.version, Labels: map[string]string{labelKind: kindJournal, labelStack: j.Stack}}
	if s.version == "" {
		s.version, err = s.records.Create(ctx, rec)
	} else {
		s.version, err = s.updateRecord(ctx, rec)
	}
	if errors.Is(err, kube.ErrConflict) || errors.Is(err, kube.ErrExists) {
		err = journal.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("writing the journal of stack %s: %w", j.Stack, err)
	}
	return s.writeCopy(j.Stack, payload)
}

// updateRecord keeps the former version when writing fails.
func (s *Store) updateRecord(ctx context.Context, rec kube.Record) (string, error) {
	version, err := s.records.Update(ctx, rec)
	if version == "" {
		version = s.version
	}
	return version, err
}

// PutPlan and the following keep documents beside the journal, named by digest:
// writing one twice is no error.
func (s *Store) PutPlan(ctx context.Context, stack string, data []byte) (digest.Digest, error) {
	return s.putDocument(ctx, kindPlan, stack, data)
}

// PutLock keeps a lock, which holds nothing private, on disk as well.
func (s *Store) PutLock(ctx context.Context, stack string, data []byte) (digest.Digest, error) {
	d, err := s.putDocument(ctx, kindLock, stack, data)
	if err != nil || s.dir == "" {
		return d, err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return d, fmt.Errorf("copying the lock to disk: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(s.dir, lockCopy(d)), data, 0o600); err != nil {
		return d, fmt.Errorf("copying the lock to disk: %w", err)
	}
	return d, nil
}

func lockCopy(d digest.Digest) string { return d.Encoded() + ".lock.yaml" }

// ReadLockCopy reads a lock from a state directory.
func ReadLockCopy(dir, cluster string, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("reading the copy of a lock: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.Base(cluster), lockCopy(d)))
	if err != nil {
		return nil, fmt.Errorf("reading the copy of a lock: %w", err)
	}
	if digest.FromBytes(data) != d {
		return nil, fmt.Errorf("reading the copy of a lock: %w", kube.ErrDamaged)
	}
	return data, nil
}

// PutLedger keeps the ledger of checks that came with a bundle.
func (s *Store) PutLedger(ctx context.Context, stack string, data []byte) (digest.Digest, error) {
	return s.putDocument(ctx, kindLedger, stack, data)
}

// PutObjects keeps a stream of applied objects.
func (s *Store) PutObjects(ctx context.Context, stack string, data []byte) (digest.Digest, error) {
	return s.putDocument(ctx, kindObjects, stack, data)
}

func (s *Store) putDocument(ctx context.Context, kind, stack string, data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	_, err := s.records.Create(ctx, kube.Record{Name: documentName(kind, d), Payload: data, Labels: map[string]string{labelKind: kind, labelStack: stack}})
	if err != nil && !errors.Is(err, kube.ErrExists) {
		return "", fmt.Errorf("keeping the %s: %w", kind, err)
	}
	return d, nil
}

// Plan reads a kept plan.
func (s *Store) Plan(ctx context.Context, d digest.Digest) ([]byte, error) {
	return s.getDocument(ctx, kindPlan, d)
}

// Lock reads a kept lock.
func (s *Store) Lock(ctx context.Context, d digest.Digest) ([]byte, error) {
	return s.getDocument(ctx, kindLock, d)
}

// Ledger reads a kept ledger.
func (s *Store) Ledger(ctx context.Context, d digest.Digest) ([]byte, error) {
	return s.getDocument(ctx, kindLedger, d)
}

// Objects reads kept objects.
func (s *Store) Objects(ctx context.Context, d digest.Digest) ([]byte, error) {
	return s.getDocument(ctx, kindObjects, d)
}

func (s *Store) getDocument(ctx context.Context, kind string, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("reading the %s %q: %w", kind, d, err)
	}
	rec, err := s.records.Get(ctx, documentName(kind, d))
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", kind, err)
	}
	if digest.FromBytes(rec.Payload) != d {
		return nil, fmt.Errorf("reading the %s %s: %w", kind, d, kube.ErrDamaged)
	}
	return rec.Payload, nil
}

func journalName(stack string) string { return "caisson.journal." + stack }

func documentName(kind string, d digest.Digest) string {
	return "caisson." + kind + "." + d.Encoded()[:32]
}

var stackName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// writeCopy writes the journal's copy in the state directory, whole or not at all.
func (s *Store) writeCopy(stack string, payload []byte) error {
	if s.dir == "" {
		return nil
	}
	if !stackName.MatchString(stack) {
		return fmt.Errorf("copying the journal to disk: %q is not the name of a stack", stack)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("copying the journal to disk: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(s.dir, stack+".journal.json"), payload, 0o600); err != nil {
		return fmt.Errorf("copying the journal to disk: %w", err)
	}
	return nil
}

// Copy reads a stack's journal from the state directory. There being none is
// ErrNone; one that cannot be read as a journal of the stack is ErrInvalid.
func (s *Store) Copy(stack string) (*journal.Journal, error) {
	if s.dir == "" || !stackName.MatchString(stack) {
		return nil, fmt.Errorf("reading the copy of the journal: %w", journal.ErrNone)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, stack+".journal.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the copy of the journal: %w", journal.ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the copy of the journal: %w", err)
	}
	j, err := journal.Parse(data)
	if err == nil && (j.Stack != stack || j.Cluster != s.cluster) {
		err = fmt.Errorf("%w: it is that of stack %s on cluster %s", journal.ErrInvalid, j.Stack, j.Cluster)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the copy of the journal: %w", err)
	}
	return j, nil
}

// ReadCopies reads the journals in a state directory, for when no cluster
// answers. Files that are not journals are left out.
func ReadCopies(dir string) ([]*journal.Journal, error) {
	var out []*journal.Journal
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if j, err := journal.Parse(data); err == nil {
			out = append(out, j)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the copies of journals: %w", err)
	}
	return out, nil
}
