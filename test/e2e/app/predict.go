package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// modelDir is where KServe mounts a model.
const modelDir = "/mnt/models"

// predict answers on port 8080: what the model says to FILE is its digest.
func predict(dir string) error {
	http.HandleFunc("/{file...}", func(w http.ResponseWriter, r *http.Request) {
		file := r.PathValue("file")
		if file == "" {
			fmt.Fprintln(w, "ready")
			return
		}
		sum, err := digest(filepath.Join(dir, filepath.Base(file)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprint(w, sum)
	})
	return http.ListenAndServe(":8080", nil)
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
