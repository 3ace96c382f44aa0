package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/etcdx/etcdx/pkg/lab"
)

// control lets other processes of this user steer a lab, over HTTP on the loopback interface. The token keeps other users out.
type control struct {
	cluster *lab.Cluster
	token   string
	server  *http.Server
	url     string
	// down is closed when somebody asks for the lab's end.
	down chan struct{}
}

// command is a request; reply is its answer.
type command struct {
	Words []string `json:"words"`
}

type reply struct {
	Text   string       `json:"text,omitempty"`
	Error  string       `json:"error,omitempty"`
	Status []lab.Status `json:"status,omitempty"`
}

// applyTimeout bounds a command, restarts and restores of a whole cluster included.
const applyTimeout = time.Minute

func serveControl(c *lab.Cluster) (*control, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &control{cluster: c, token: rand.Text(), url: "http://" + ln.Addr().String(), down: make(chan struct{})}
	k.server = &http.Server{Handler: http.HandlerFunc(k.handle), ReadHeaderTimeout: applyTimeout}
	go func() { _ = k.server.Serve(ln) }()
	return k, nil
}

func (k *control) handle(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+k.token)) != 1 {
		http.Error(w, "the token is wrong", http.StatusForbidden)
		return
	}
	var c command
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || len(c.Words) == 0 {
		http.Error(w, "not a command", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), applyTimeout)
	defer cancel()
	var answer reply
	switch c.Words[0] {
	case "status":
		answer.Status = k.cluster.Status(ctx)
	case "down":
		select {
		case <-k.down:
		default:
			close(k.down)
		}
	default:
		text, err := k.cluster.Apply(ctx, c.Words)
		answer.Text = text
		if err != nil {
			answer.Error = err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// close ends the server, letting answers that are under way arrive.
func (k *control) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = k.server.Shutdown(ctx)
}

// call sends words to the lab at p and returns its answer. The error wraps errNotUp if there is no lab.
func (p place) call(ctx context.Context, words ...string) (reply, error) {
	var answer reply
	r, err := p.load()
	if err != nil {
		return answer, err
	}
	body, err := json.Marshal(command{Words: words})
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	client := http.Client{Timeout: applyTimeout + time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if _, refused := errors.AsType[*net.OpError](err); refused && ctx.Err() == nil {
		return answer, fmt.Errorf("lab %q: %w any more: process %d has gone", p.name, errNotUp, r.Pid)
	}
	if err != nil {
		return answer, fmt.Errorf("lab %q: %w", p.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return answer, fmt.Errorf("lab %q: %s", p.name, bytes.TrimSpace(text))
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, err
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}
