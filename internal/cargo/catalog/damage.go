package catalog

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/event"
)

// Damage makes a finding of an error of reading content; ok is false for other
// errors.
func (c *Catalog) Damage(err error) (f event.Finding, ok bool) {
	f = event.Finding{Severity: event.Error}
	var bad *bundle.BlockError
	var gone *bundle.MissingError
	switch {
	case errors.As(err, &gone):
		f.Code, f.Volume = string(bundle.MissingVolume), gone.Name
		f.What, f.Hint = "volume "+gone.Name+" is missing", CopyAgain(gone.Name)
		return f, true
	case !errors.As(err, &bad):
		return f, false
	}
	f.Code, f.Blob = string(bundle.BadBlock), bad.Blob.String()
	what := "does not match the signature"
	switch {
	case errors.Is(bad.Err, io.ErrUnexpectedEOF) && len(bad.Places) > 0:
		f.Code, what = string(bundle.ShortVolume), "is not there: "+bad.Places[0].File+" is too short"
	case !errors.Is(err, bundle.ErrTampered):
		f.Code, what = string(bundle.Unreadable), fmt.Sprintf("cannot be read: %v", bad.Err)
	}
	files := make([]string, len(bad.Places))
	for i, p := range bad.Places {
		files[i] = p.File
	}
	if len(bad.Places) > 0 {
		p := bad.Places[0]
		f.Volume, f.Offset, f.Length = p.File, p.Offset, p.Length
	}
	f.What, f.Hint = describePlaces(bad.Places)+" "+what, CopyAgain(files...)
	f.Item = strings.Join(c.References()[bad.Blob], ", ")
	return f, true
}

// CopyAgain is the advice about damaged files.
func CopyAgain(files ...string) string {
	return "copy " + strings.Join(files, " and ") + " again from the source medium"
}

func describePlaces(places []bundle.Place) string {
	said := make([]string, len(places))
	for i, p := range places {
		said[i] = p.String()
	}
	return "the block in " + strings.Join(said, " and ")
}
