package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

// serve takes kube-apiserver's connections from the socket. Those to a Service are answered
// here, each with one request: another wants a new connection, and so learns at once that
// the Service lost its pods.
func (o *operators) serve(ctx context.Context, socket net.Listener) error {
	ends := &serviceEnds{Listener: socket, connections: make(chan net.Conn)}
	connect := func(w http.ResponseWriter, r *http.Request) { o.connect(ends, w, r) }
	proxy := &http.Server{Handler: http.HandlerFunc(connect)}
	answers := &http.Server{Handler: http.HandlerFunc(answer)}
	answers.SetKeepAlivesEnabled(false)
	go answers.Serve(tls.NewListener(ends, &tls.Config{GetCertificate: o.certificates()}))
	context.AfterFunc(ctx, func() { proxy.Close() })
	if err := proxy.Serve(socket); ctx.Err() == nil {
		return err
	}
	return nil
}

// serviceEnds is a listener of the far ends of connections to Services.
type serviceEnds struct {
	net.Listener
	connections chan net.Conn
}

// Accept implements net.Listener.
func (e *serviceEnds) Accept() (net.Conn, error) { return <-e.connections, nil }

// connect opens the connection that kube-apiserver asks for. As in a real cluster, a
// Service without a ready pod refuses; what is no Service is only passed on.
func (o *operators) connect(ends *serviceEnds, w http.ResponseWriter, r *http.Request) {
	isService, err := o.findService(r)
	var far net.Conn
	if err == nil && !isService {
		far, err = net.Dial("tcp", r.Host)
	}
	near, _, hijackErr := w.(http.Hijacker).Hijack()
	if hijackErr != nil {
		return
	}
	if err != nil { // kube-apiserver quotes this line to whoever called the webhook
		fmt.Fprintf(near, "HTTP/1.1 502 %v\r\n\r\n", err)
		near.Close()
		return
	}
	fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
	if isService {
		ends.connections <- near
		return
	}
	go copyUntilEnd(near, far)
	copyUntilEnd(far, near)
}

func copyUntilEnd(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
}

// findService says whether the address is a Service's; the error is why it refuses.
func (o *operators) findService(r *http.Request) (bool, error) {
	address, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return false, err
	}
	at := metav1.ListOptions{FieldSelector: "spec.clusterIP=" + address}
	services, err := o.client.CoreV1().Services("").List(r.Context(), at)
	if err != nil || len(services.Items) == 0 {
		return false, err
	}
	service := services.Items[0]
	of := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service.Name}
	slices, err := o.client.DiscoveryV1().EndpointSlices(service.Namespace).List(r.Context(), of)
	if err != nil {
		return true, err
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if ready := endpoint.Conditions.Ready; ready == nil || *ready {
				return true, nil
			}
		}
	}
	return true, fmt.Errorf("connection refused, no ready endpoint of Service %s/%s", service.Namespace, service.Name)
}

// certificates issues one for each name that a Service is called by.
func (o *operators) certificates() func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var mu sync.Mutex
	issued := map[string]tls.Certificate{}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		name := hello.ServerName
		if c, ok := issued[name]; ok {
			return &c, nil
		}
		if err := o.ca.server(name, []string{name}, nil); err != nil {
			return nil, err
		}
		file := filepath.Join(o.ca.dir, name)
		c, err := tls.LoadX509KeyPair(file+".crt", file+".key")
		issued[name] = c
		return &c, err
	}
}

// answer is what every webhook and aggregated API says: allowed, converted, and a group
// without resources.
func answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		discover(w, r)
		return
	}
	var review map[string]any
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &review)
	}
	request, _ := review["request"].(map[string]any)
	if err != nil || request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	delete(review, "request")
	response := map[string]any{"uid": request["uid"]}
	if review["kind"] == "ConversionReview" {
		response["result"] = map[string]any{"status": metav1.StatusSuccess}
		response["convertedObjects"] = convert(request)
	} else {
		response["allowed"] = true
	}
	review["response"] = response
	writeJSON(w, review)
}

func convert(request map[string]any) []any {
	list, _ := request["objects"].([]any)
	for _, e := range list {
		if object, ok := e.(map[string]any); ok {
			object["apiVersion"] = request["desiredAPIVersion"]
		}
	}
	return list
}

// discover answers for /apis/GROUP/VERSION; nothing else is there.
func discover(w http.ResponseWriter, r *http.Request) {
	version, _ := strings.CutPrefix(r.URL.Path, "/apis/")
	if strings.Count(version, "/") != 1 {
		http.NotFound(w, r)
		return
	}
	writeJSON(w, metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: version,
		APIResources: []metav1.APIResource{},
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
}
