// Command app is all that the images of the test hold.
//
//	app pause     waits to be ended: the container that holds a pod's network
//	app serve     answers on port 8080 with its name and what $UPSTREAM answers
//	app get URL   prints an answer
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var err error
	switch mode := os.Args[1]; mode {
	case "pause":
		pause()
	case "serve":
		err = serve(os.Getenv("NAME"), os.Getenv("UPSTREAM"))
	case "get":
		var text string
		text, err = get(os.Args[2])
		fmt.Print(text)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func pause() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}

func serve(name, upstream string) error {
	log.Printf("%s serves as user %d", name, os.Getuid())
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s answers", name)
		behind := ""
		if upstream != "" {
			text, err := get(upstream)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			behind = " < " + text
		}
		fmt.Fprint(w, name+behind)
	})
	return http.ListenAndServe(":8080", nil)
}

func get(url string) (string, error) {
	client := &http.Client{Timeout: 4 * time.Second}
	reply, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, 1<<20))
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", reply.Status, text)
	}
	return string(text), err
}
