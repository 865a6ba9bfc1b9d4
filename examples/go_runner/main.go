// A runner without a kit, in Go: what "any language" costs. `go run . [-port 9876] [-stream=false]`
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

var workflows = map[string]Workflow{"plain": plain}

func plain(turn *Turn, input json.RawMessage) (any, error) {
	var doubled, total int
	err := turn.Step("double", &doubled, func() (any, error) {
		var given struct{ N *int }
		if err := json.Unmarshal(input, &given); err != nil || given.N == nil {
			return nil, errors.New("n is not a number")
		}
		return *given.N * 2, nil
	})
	if err != nil {
		return nil, err
	}
	turn.Sleep("1s")
	var added struct{ N int }
	if err := turn.WaitForEvent("go", &added); err != nil {
		return nil, err
	}
	err = turn.Step("add", &total, func() (any, error) { return doubled + added.N, nil })
	return map[string]int{"total": total}, err
}

func main() {
	address := os.Getenv("PYLON_WORKFLOW_RUNNER_URL")
	if address == "" {
		address = "http://127.0.0.1:9876/run"
	}
	at, err := url.Parse(address)
	if err != nil {
		log.Fatal(err)
	}
	port := flag.String("port", at.Port(), "where to listen; 0 takes any free port")
	streams := flag.Bool("stream", true, "go on with the workflow in one turn, a line a step")
	flag.Parse()

	listener, err := net.Listen("tcp", net.JoinHostPort(at.Hostname(), *port))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("runner listening on http://%s/run\n", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, *streams)
	})))
}

func answer(w http.ResponseWriter, r *http.Request, streams bool) {
	if r.Method != http.MethodPost {
		w.Header().Set("allow", "POST")
		http.Error(w, `{"error":"POST only"}`, http.StatusMethodNotAllowed)
		return
	}
	var request Request
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Records == nil {
		http.Error(w, `{"error":"no question of an engine's"}`, http.StatusBadRequest)
		return
	}
	streams = streams && acceptsLines(r.Header.Get("accept"))
	if streams {
		w.Header().Set("content-type", "application/x-ndjson")
	} else {
		w.Header().Set("content-type", "application/json")
	}
	lines := json.NewEncoder(w) // each value it writes is one line
	turn := NewTurn(request, streams, func(action Action) bool {
		if r.Context().Err() != nil || lines.Encode(action) != nil {
			return false // the caller has gone: no step starts any more
		}
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		return true
	})
	turn.Run(workflows[request.Workflow])
}

// acceptsLines says whether the caller takes a stream: by name, and not with the weight 0 (PROTOCOL.md S1).
func acceptsLines(accept string) bool {
	for _, kind := range strings.Split(strings.ReplaceAll(accept, " ", ""), ",") {
		name, weight, _ := strings.Cut(kind, ";")
		if name == "application/x-ndjson" {
			return weight != "q=0"
		}
	}
	return false
}
