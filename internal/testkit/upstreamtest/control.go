package upstreamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// controlHandler lets other processes do what Upstream's methods do, in JSON:
//
//	GET    /_control/stats      Stats
//	DELETE /_control/stats      ResetStats
//	POST   /_control/faults     Fault, for one object or each of a list
//	GET    /_control/faults     the faults in force, with their hits
//	DELETE /_control/faults     ClearFaults
//	GET    /_control/addresses  Addresses
//	POST   /_control/advance    Advance
func (u *Upstream) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_control/stats", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, u.Stats())
	})
	mux.HandleFunc("DELETE /_control/stats", func(w http.ResponseWriter, _ *http.Request) {
		u.ResetStats()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /_control/faults", u.postFaults)
	mux.HandleFunc("GET /_control/faults", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, u.faults.listFaults())
	})
	mux.HandleFunc("DELETE /_control/faults", func(w http.ResponseWriter, _ *http.Request) {
		u.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_control/addresses", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, u.Addresses())
	})
	mux.HandleFunc("POST /_control/advance", func(w http.ResponseWriter, _ *http.Request) {
		if err := u.Advance(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func (u *Upstream) postFaults(w http.ResponseWriter, r *http.Request) {
	list, err := readFaults(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, f := range list {
		u.Fault(f)
	}
	w.WriteHeader(http.StatusNoContent)
}

// readFaults reads one fault or a list of them.
func readFaults(r io.Reader) ([]Fault, error) {
	body, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading faults: %w", err)
	}
	if body = bytes.TrimSpace(body); bytes.HasPrefix(body, []byte("{")) {
		body = append(append([]byte("["), body...), ']')
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var list []Fault
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading faults: %w", err)
	}
	for _, f := range list {
		if !f.Kind.isKnown() {
			return nil, fmt.Errorf("reading faults: no kind %q", f.Kind)
		}
	}
	return list, nil
}
