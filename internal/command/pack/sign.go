package pack

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
)

// SignOptions ask for one more signature. Paths and Key are required.
type SignOptions struct {
	Paths    []string // scanned for bundles, see bundle.Scan
	Key      string   // private key file
	Password func() ([]byte, error)
	// Countersign are public key files: the statement that one of these keys
	// signed is signed, and no other.
	Countersign []string
	Sequence    int64         // see Options; with Expires, 0 to sign the statement that is there
	Expires     time.Duration //
	Now         time.Time     // see Options
}

// SignResult says what was signed.
type SignResult struct {
	Signatures []Signature
}

// Signature is one signature file beside a bundle.
type Signature struct {
	Bundle    string
	File      string
	KeyID     string
	Statement bundle.Statement
	Kept      bool // it was there already
}

// Sign adds a signature by one more key to each bundle in opt.Paths. It signs
// the statement that a key of opt.Countersign signed, or without such the one
// that Key itself signed before, if that agrees with the bundle; a new one only
// where no signature beside the bundle claims to be about it. Nothing is taken
// from a signature that is not proven: ErrUnproven. It reads heads alone: the
// signer vouches for what the head says, verify proves the volumes against it.
func Sign(ctx context.Context, opt SignOptions, sink event.Sink) (SignResult, error) {
	sink = event.Named(sink, "sign")
	key, err := sign.LoadPrivateKey(opt.Key, opt.Password)
	if err != nil {
		return SignResult{}, err
	}
	first, err := firstSigners(opt.Countersign)
	if err != nil {
		return SignResult{}, err
	}
	found, err := cargo.Find(fmt.Sprintf("signing %q", opt.Paths), opt.Paths...)
	if err != nil {
		return SignResult{}, err
	}
	var result SignResult
	for _, files := range found {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		s := signer{key: key, first: first, term: term{created: creationTime(opt.Now), sequence: opt.Sequence, expires: opt.Expires}, sink: sink}
		one, err := s.signBundle(files)
		if err != nil {
			return result, fmt.Errorf("signing %s: %w", files.Name, err)
		}
		result.Signatures = append(result.Signatures, one)
	}
	sink.Emit(event.Event{Kind: event.Result, Message: fmt.Sprintf("%d signed", len(result.Signatures))})
	return result, nil
}

func firstSigners(files []string) ([]sign.PublicKey, error) {
	if len(files) == 0 {
		return nil, nil
	}
	c, err := sign.LoadChecker(files)
	return c.Keys, err
}

// signer adds one signature to one bundle.
type signer struct {
	head   *cargo.Head
	key    *sign.PrivateKey
	first  []sign.PublicKey // whose statement to sign; none: one's own
	packed bool             // the bundle is of one's own making: a new statement needs nobody's proof
	term   term
	sink   event.Sink
}

// signBundle reads a head and signs what it says.
func (s signer) signBundle(files bundle.Files) (Signature, error) {
	h, err := cargo.ReadHead(files)
	if err != nil {
		return Signature{}, err
	}
	defer h.Close()
	s.head = h
	return s.signOnce()
}

// signOnce keeps a signature by the key that verifies and says what is asked for;
// else it writes one.
func (s signer) signOnce() (Signature, error) {
	statement, proven, err := s.provenStatement()
	if err != nil {
		return Signature{}, err
	}
	if !proven {
		return s.beginStatement()
	}
	own, err := provenBy(s.head, s.key.Public)
	if err != nil {
		return Signature{}, err
	}
	if slices.ContainsFunc(own, func(o bundle.Statement) bool { return reflect.DeepEqual(o, statement) }) {
		one := s.signatureOf(statement)
		one.Kept = true
		s.emitSigned(one, "kept")
		return one, nil
	}
	if err := checkBinaries(s.bundleDir(), statement.Predicate.Binaries); err != nil {
		return Signature{}, err
	}
	return s.writeSignature(statement)
}

func (s signer) signatureOf(st bundle.Statement) Signature {
	file := s.bundleName() + "." + s.key.Public.ID + ".sigstore.json"
	return Signature{Bundle: s.bundleName(), File: filepath.Join(s.bundleDir(), file), KeyID: s.key.Public.ID, Statement: st}
}

// bundleName is that of the bundle's files.
func (s signer) bundleName() string { return s.head.Files().Name }

func (s signer) bundleDir() string { return filepath.Dir(s.head.Files().Head) }

// provenStatement is the statement that is there, signed by a key that counts, and says
// what is asked for.
func (s signer) provenStatement() (st bundle.Statement, ok bool, err error) {
	keys := s.first
	if len(keys) == 0 {
		keys = []sign.PublicKey{s.key.Public}
	}
	list, err := provenBy(s.head, keys...)
	i := slices.IndexFunc(list, func(st bundle.Statement) bool { return s.term.isMetBy(st.Predicate) })
	if err != nil || i < 0 {
		return st, false, err
	}
	return list[i], true, nil
}

// beginStatement signs a new statement, unless there is one to be proven first. In place
// of one's own, which says something else than is asked for, it always may.
func (s signer) beginStatement() (Signature, error) {
	if err := s.mayBegin(); err != nil {
		return Signature{}, err
	}
	statement, err := s.newStatement()
	if err != nil {
		return Signature{}, err
	}
	return s.writeSignature(statement)
}

func (s signer) mayBegin() error {
	if s.packed {
		return nil
	}
	if len(s.first) > 0 {
		return fmt.Errorf("%w: none by a key to countersign says what is asked for", ErrUnproven)
	}
	own, err := provenBy(s.head, s.key.Public)
	if err != nil || len(own) > 0 {
		return err
	}
	signers, err := claimedKeys(s.head)
	if err == nil && len(signers) > 0 {
		err = fmt.Errorf("%w: it claims to be by key %s", ErrUnproven, strings.Join(signers, ", "))
	}
	return err
}

func (s signer) newStatement() (bundle.Statement, error) {
	var ledger digest.Digest
	if path := s.head.Files().Ledger; path != "" {
		var err error
		if ledger, err = digestFile(path); err != nil {
			return bundle.Statement{}, err
		}
	}
	return s.term.makeStatement(s.head.Bundle, ledger), nil
}

func (s signer) writeSignature(st bundle.Statement) (Signature, error) {
	payload, err := st.Marshal()
	if err != nil {
		return Signature{}, err
	}
	file, err := s.key.SignStatement(payload)
	if err != nil {
		return Signature{}, err
	}
	one := s.signatureOf(st)
	if one.File, err = bundle.WriteSignature(s.bundleDir(), s.bundleName(), s.key.Public.ID, file); err != nil {
		return Signature{}, err
	}
	s.emitSigned(one, "written")
	return one, nil
}

func (s signer) emitSigned(one Signature, how string) {
	p := one.Statement.Predicate
	s.sink.Emit(event.Event{
		Kind: event.Info, Item: s.bundleName(),
		Message: "signature by key " + one.KeyID + " " + how,
		Fields: map[string]any{
			"file": filepath.Base(one.File), "keyID": one.KeyID, "sequence": p.Sequence,
			"created": p.Created, "expires": p.Expires, "index": one.Statement.Subject[0].Digest["sha256"],
		},
	})
}
