// Command app is all that the images of the test hold.
//
//	app pause       waits to be ended: the container that holds a pod's network
//	app serve       answers on port 8080 with its name and what $UPSTREAM answers
//	app get URL     prints an answer
//	app write FILE  writes a file
//	app predict     answers with the digests of the model's files
//	app train       adds up over all processes of a TrainJob
//	app complete URL MODEL  asks a model as OpenAI's clients do, and prints the answer
//	python3 -m ... in the place of vLLM: answers as OpenAI's API with what the model says
//	sh SCRIPT       in the place of a shell: SCRIPT is setup or teardown of a volume
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	mode := os.Args[1]
	switch filepath.Base(os.Args[0]) {
	case "sh":
		mode = filepath.Base(os.Args[1])
	case "python3":
		mode = "vllm"
	}
	var err error
	switch mode {
	case "pause":
		pause()
	case "serve":
		err = serve(os.Getenv("NAME"), os.Getenv("UPSTREAM"))
	case "get":
		var text string
		text, err = get(os.Args[2])
		fmt.Print(text)
	case "write":
		err = os.WriteFile(os.Args[2], []byte("written\n"), 0o600)
	case "predict":
		err = predict(modelDir)
	case "vllm":
		err = serveModel(os.Args[1:])
	case "complete":
		var text string
		text, err = complete(os.Args[2], os.Args[3])
		fmt.Print(text)
	case "train":
		err = train()
	case "setup":
		err = os.MkdirAll(os.Getenv("VOL_DIR"), 0o777)
	case "teardown":
		err = os.RemoveAll(os.Getenv("VOL_DIR"))
	default:
		err = fmt.Errorf("unknown mode %s", mode)
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
	return readReply(client.Get(url))
}

// readReply reads what a request was answered with, to its end.
func readReply(reply *http.Response, err error) (string, error) {
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
