package serve

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics shows, in a registry of their own.
type metrics struct {
	requests *prometheus.CounterVec
	sent     *prometheus.CounterVec
	tampered prometheus.Counter
	handler  http.Handler
}

func newMetrics(bundles int) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "caisson_serve_requests_total", Help: "Requests answered, by route and status code."}, []string{"route", "code"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "caisson_serve_sent_bytes_total", Help: "Body bytes sent, by route."}, []string{"route"}),
		tampered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "caisson_serve_block_failures_total", Help: "Blocks that did not match the signed table and were not sent."}),
	}
	open := prometheus.NewGauge(prometheus.GaugeOpts{Name: "caisson_serve_bundles", Help: "Trusted bundles being served."})
	open.Set(float64(bundles))
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.requests, m.sent, m.tampered, open)
	m.handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return m
}

func (m *metrics) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	m.handler.ServeHTTP(w, r)
	return nil
}

func (m *metrics) observeAnswer(rec *recorder, aborted bool) {
	code := strconv.Itoa(rec.statusCode())
	if aborted {
		code = "aborted"
	}
	m.requests.WithLabelValues(rec.route, code).Inc()
	m.sent.WithLabelValues(rec.route).Add(float64(rec.bytes))
}
