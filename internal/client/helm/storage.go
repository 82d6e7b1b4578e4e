package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/caisson/caisson/internal/client/kube"
)

// DriverName is what Driver calls itself to Helm.
const DriverName = "Caisson"

const (
	recordPrefix   = "caisson.release.v1."
	storageTimeout = time.Minute
)

// systemLabels are set from the release; a release's own labels cannot be these.
var systemLabels = map[string]bool{"name": true, "owner": true, "status": true, "version": true, "createdAt": true, "modifiedAt": true}

// Driver is Helm's release storage over kube.Records: releases of any size, in
// the release's namespace. It never expires with a context, so that a cancelled
// action can still write down how it ended; each call is bounded instead.
//
// Helm's own clients do not see these records, and releases of theirs are not
// seen here.
type Driver struct{ records kube.Records }

var _ driver.Driver = Driver{}

// NewDriver stores releases in records.
func NewDriver(records kube.Records) Driver { return Driver{records} }

// Name implements Helm's driver.Driver.
func (d Driver) Name() string { return DriverName }

var releaseKey = regexp.MustCompile(`^` + regexp.QuoteMeta(storage.HelmStorageType) + `\.(.+)\.v([0-9]+)$`)

// recordName is the head Secret's name for Helm's key of a release.
func recordName(key string) (string, error) {
	m := releaseKey.FindStringSubmatch(key)
	if m == nil {
		return "", driver.ErrInvalidKey
	}
	return recordPrefix + m[1] + ".v" + m[2], nil
}

func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), storageTimeout)
}

// Create implements Helm's driver.Driver: an existing key is ErrReleaseExists.
func (d Driver) Create(key string, rls *release.Release) error {
	rec, err := encodeRelease(key, rls)
	if err != nil {
		return err
	}
	ctx, cancel := bounded()
	defer cancel()
	if _, err := d.records.Create(ctx, rec); errors.Is(err, kube.ErrExists) {
		return driver.ErrReleaseExists
	} else if err != nil {
		return fmt.Errorf("storing release %s: %w", rls.Name, err)
	}
	return nil
}

// Update implements Helm's driver.Driver: a missing key is ErrReleaseNotFound.
func (d Driver) Update(key string, rls *release.Release) error {
	rec, err := encodeRelease(key, rls)
	if err != nil {
		return err
	}
	ctx, cancel := bounded()
	defer cancel()
	if _, err := d.records.Update(ctx, rec); err != nil {
		return found(fmt.Errorf("storing release %s: %w", rls.Name, err))
	}
	return nil
}

// Delete implements Helm's driver.Driver and returns what was deleted.
func (d Driver) Delete(key string) (*release.Release, error) {
	rls, err := d.Get(key)
	if err != nil {
		return nil, err
	}
	name, err := recordName(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded()
	defer cancel()
	return rls, found(d.records.Delete(ctx, name))
}

// Get implements Helm's driver.Driver.
func (d Driver) Get(key string) (*release.Release, error) {
	name, err := recordName(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded()
	defer cancel()
	rec, err := d.records.Get(ctx, name)
	if err != nil {
		return nil, found(err)
	}
	return decodeRelease(rec)
}

// List implements Helm's driver.Driver.
func (d Driver) List(filter func(*release.Release) bool) ([]*release.Release, error) {
	return d.query(map[string]string{}, filter)
}

// Query implements Helm's driver.Driver. As with Helm's own drivers nothing
// found is ErrReleaseNotFound.
func (d Driver) Query(match map[string]string) ([]*release.Release, error) {
	for _, v := range match {
		if errs := validation.IsValidLabelValue(v); len(errs) != 0 {
			return nil, fmt.Errorf("invalid label value: %q: %s", v, strings.Join(errs, "; "))
		}
	}
	match = maps.Clone(match)
	delete(match, "owner") // Helm asks for its own mark; ours is on every record
	list, err := d.query(match, func(*release.Release) bool { return true })
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, driver.ErrReleaseNotFound
	}
	return list, nil
}

func (d Driver) query(match map[string]string, filter func(*release.Release) bool) ([]*release.Release, error) {
	ctx, cancel := bounded()
	defer cancel()
	match[labelRelease] = "true"
	records, err := d.records.List(ctx, match)
	if err != nil && len(records) == 0 {
		return nil, err
	}
	var out []*release.Release
	for _, rec := range records {
		rls, err := decodeRelease(rec)
		if err != nil {
			continue // as Helm does: one damaged record does not hide the others
		}
		if filter(rls) {
			out = append(out, rls)
		}
	}
	return out, nil
}

// labelRelease marks records that are releases.
const labelRelease = "caisson.dev/release"

func found(err error) error {
	if errors.Is(err, kube.ErrNoRecord) {
		return driver.ErrReleaseNotFound
	}
	return err
}

// encodeRelease is the JSON that Helm itself stores, without its base64 and with
// the labels outside.
func encodeRelease(key string, rls *release.Release) (kube.Record, error) {
	name, err := recordName(key)
	if err != nil {
		return kube.Record{}, err
	}
	payload, err := json.Marshal(rls)
	if err != nil {
		return kube.Record{}, fmt.Errorf("encoding release %s: %w", rls.Name, err)
	}
	labels := map[string]string{}
	for k, v := range rls.Labels {
		if !systemLabels[k] {
			labels[k] = v
		}
	}
	labels["name"] = rls.Name
	labels["status"] = rls.Info.Status.String()
	labels["version"] = strconv.Itoa(rls.Version)
	labels[labelRelease] = "true"
	return kube.Record{Name: name, Labels: labels, Payload: payload}, nil
}

func decodeRelease(rec kube.Record) (*release.Release, error) {
	var rls release.Release
	if err := json.Unmarshal(rec.Payload, &rls); err != nil {
		return nil, fmt.Errorf("decoding release record %s: %w", rec.Name, err)
	}
	rls.Labels = map[string]string{}
	for k, v := range rec.Labels {
		if !systemLabels[k] && k != labelRelease {
			rls.Labels[k] = v
		}
	}
	return &rls, nil
}
