package pack

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/sign"
)

// SignOptions ask for one more signature. Paths and Key are required.
type SignOptions struct {
	Paths    []string // scanned for bundles, see bundle.Scan
	Key      string   // private key file
	Password func() ([]byte, error)
	Sequence int64         // see Options; with Expires, 0 to sign the statement that is there
	Expires  time.Duration //
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
// the statement that a signature beside the bundle already makes, if that
// agrees with the bundle; else a new one. It reads heads alone: the signer
// vouches for what the head says, verify proves the volumes against it.
func Sign(ctx context.Context, opt SignOptions, sink event.Sink) (SignResult, error) {
	sink = named(sink, "sign")
	key, err := sign.LoadPrivateKey(opt.Key, opt.Password)
	if err != nil {
		return SignResult{}, err
	}
	found, err := bundle.Scan(opt.Paths...)
	if err != nil {
		return SignResult{}, err
	}
	if len(found) == 0 {
		return SignResult{}, fmt.Errorf("signing %q: %w", opt.Paths, sign.ErrNoBundle)
	}
	created, err := now()
	if err != nil {
		return SignResult{}, err
	}
	var result SignResult
	for _, files := range found {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		s := signer{files: files, key: key, term: term{created: created, sequence: opt.Sequence, expires: opt.Expires}, sink: sink}
		one, err := s.sign()
		if err != nil {
			return result, fmt.Errorf("signing %s: %w", files.Name, err)
		}
		result.Signatures = append(result.Signatures, one)
	}
	sink.Emit(event.Event{Kind: event.Result, Message: fmt.Sprintf("%d signed", len(result.Signatures))})
	return result, nil
}

// signer adds one signature to one bundle.
type signer struct {
	files bundle.Files
	key   *sign.PrivateKey
	term  term
	sink  event.Sink
}

// sign keeps a signature by the key that verifies and says what is asked for;
// else it writes one.
func (s signer) sign() (Signature, error) {
	have, err := byKey(s.files, s.key.Public)
	if err != nil {
		return Signature{}, err
	}
	if have != nil && s.term.met(have.Predicate) {
		one := s.done(*have)
		one.Kept = true
		s.tell(one, "kept")
		return one, nil
	}
	statement, err := s.statement()
	if err != nil {
		return Signature{}, err
	}
	return s.write(statement)
}

func (s signer) done(st bundle.Statement) Signature {
	file := s.files.Name + "." + s.key.Public.ID + ".sigstore.json"
	return Signature{Bundle: s.files.Name, File: filepath.Join(s.dir(), file), KeyID: s.key.Public.ID, Statement: st}
}

func (s signer) dir() string { return filepath.Dir(s.files.Head) }

// statement is one that is there and says what is asked for, or a new one.
func (s signer) statement() (bundle.Statement, error) {
	list, err := existing(s.files)
	if err != nil {
		return bundle.Statement{}, err
	}
	for _, e := range list {
		if s.term.met(e.statement.Predicate) {
			return e.statement, s.vouch(e.statement)
		}
	}
	return s.newStatement()
}

// vouch looks at what a statement says beyond the bundle itself.
func (s signer) vouch(st bundle.Statement) error {
	absent, err := checkBinaries(s.dir(), st.Predicate.Binaries)
	if err != nil {
		return err
	}
	for _, name := range absent {
		s.sink.Emit(event.Event{Kind: event.Warning, Item: s.files.Name, Message: "the statement to be signed names " + name + ", which is not here"})
	}
	return nil
}

func (s signer) newStatement() (bundle.Statement, error) {
	b, err := bundle.Read(s.files)
	if err != nil {
		return bundle.Statement{}, err
	}
	defer b.Close()
	var ledger digest.Digest
	if s.files.Ledger != "" {
		if ledger, err = digestFile(s.files.Ledger); err != nil {
			return bundle.Statement{}, err
		}
	}
	return s.term.statement(b, ledger), nil
}

func (s signer) write(st bundle.Statement) (Signature, error) {
	payload, err := st.Marshal()
	if err != nil {
		return Signature{}, err
	}
	file, err := s.key.SignStatement(payload)
	if err != nil {
		return Signature{}, err
	}
	one := s.done(st)
	if one.File, err = bundle.WriteSignature(s.dir(), s.files.Name, s.key.Public.ID, file); err != nil {
		return Signature{}, err
	}
	s.tell(one, "written")
	return one, nil
}

func (s signer) tell(one Signature, how string) {
	p := one.Statement.Predicate
	s.sink.Emit(event.Event{
		Kind: event.Info, Item: s.files.Name,
		Message: "signature by key " + one.KeyID + " " + how,
		Fields: map[string]any{
			"file": filepath.Base(one.File), "keyID": one.KeyID, "sequence": p.Sequence,
			"created": p.Created, "expires": p.Expires, "index": one.Statement.Subject[0].Digest["sha256"],
		},
	})
}

// named sets the verb of every event.
func named(sink event.Sink, verb string) event.Sink {
	if sink == nil {
		sink = event.Discard
	}
	return event.Func(func(e event.Event) {
		e.Verb = verb
		sink.Emit(e)
	})
}
