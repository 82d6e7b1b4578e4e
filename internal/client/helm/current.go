package helm

import "context"

// Values are those that the deployed revision of a release was given, or
// ErrNoRelease.
func (e *Engine) Values(_ context.Context, name string) (map[string]any, error) {
	rls, err := e.storage().Deployed(name)
	if err != nil {
		_, err := e.known(name, nil, err)
		return nil, err
	}
	return rls.Config, nil
}
