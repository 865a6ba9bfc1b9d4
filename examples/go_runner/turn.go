package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
)

// Request is what the engine asks, as far as this runner looks at it.
type Request struct {
	Workflow string          `json:"workflow_name"`
	Input    json.RawMessage `json:"input"`
	Records  []Record        `json:"completed_steps"`
}

// Record is something that the instance has done; one that took no position is an attempt that is tried again.
type Record struct {
	Key      string          `json:"key"`
	Status   string          `json:"status"`
	Position *int            `json:"position"`
	Output   json.RawMessage `json:"output"`
	Error    string          `json:"error"`
}

// Action is one line of the answer.
type Action map[string]any

// Workflow is the author's function. It is run from its beginning in every turn.
type Workflow func(turn *Turn, input json.RawMessage) (any, error)

// Turn hands out the records, in their order, and then does what comes next.
type Turn struct {
	request Request
	due     []Record
	taken   map[string]int
	streams bool
	send    func(Action) bool
}

// NewTurn answers a request through send, which says whether anybody still listens.
func NewTurn(request Request, streams bool, send func(Action) bool) *Turn {
	turn := &Turn{request: request, taken: map[string]int{}, streams: streams, send: send}
	for _, record := range request.Records {
		if record.Position != nil {
			turn.due = append(turn.due, record)
		}
	}
	return turn
}

// Run runs the function until it has to wait. A helper that ends the turn ends this goroutine, which no recover can stop.
func (turn *Turn) Run(workflow Workflow) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if workflow == nil {
			reason := fmt.Sprintf("unknown workflow '%s'", turn.request.Workflow)
			turn.end(Action{"action": "defer", "retry_after": "5s", "reason": reason})
		}
		defer func() {
			if panicked := recover(); panicked != nil {
				turn.send(Action{"action": "fail", "error": fmt.Sprint(panicked)})
			}
		}()
		output, err := workflow(turn, turn.request.Input)
		if len(turn.due) > 0 {
			turn.diverge("the end of the workflow")
		}
		if err != nil {
			turn.end(Action{"action": "fail", "error": err.Error(), "retryable": false})
		}
		turn.end(Action{"action": "complete", "output": output})
	}()
	<-done
}

// Step runs the function once and remembers what it returned, which it puts into output.
func (turn *Turn) Step(name string, output any, run func() (any, error)) error {
	key := turn.key(name)
	if record := turn.recorded(key); record != nil {
		return record.into(output)
	}
	result, err := run()
	if err != nil {
		turn.end(Action{"action": "fail", "step_name": name, "key": key, "error": err.Error(), "on_exhausted": "throw"})
	}
	action := Action{"action": "step_complete", "step_name": name, "key": key, "output": result}
	if !turn.streams {
		turn.end(action)
	}
	written, err := json.Marshal(result)
	if err != nil || !turn.send(action) {
		runtime.Goexit()
	}
	return json.Unmarshal(written, output)
}

// Sleep pauses for a duration such as "24h".
func (turn *Turn) Sleep(duration string) {
	key := turn.key("sleep")
	if turn.recorded(key) == nil {
		turn.end(Action{"action": "sleep", "key": key, "duration": duration})
	}
}

// WaitForEvent waits for a named event, whose data it puts into data.
func (turn *Turn) WaitForEvent(event string, data any) error {
	key := turn.key("event:" + event)
	record := turn.recorded(key)
	if record == nil {
		turn.end(Action{"action": "wait_event", "event": event, "key": key})
	}
	return record.into(data)
}

// key is the first free one of name, name#2, name#3...
func (turn *Turn) key(name string) string {
	turn.taken[name]++
	if count := turn.taken[name]; count > 1 {
		return fmt.Sprintf("%s#%d", name, count)
	}
	return name
}

// recorded takes the next record, which must be the one asked for.
func (turn *Turn) recorded(key string) *Record {
	if len(turn.due) == 0 {
		return nil
	}
	record := turn.due[0]
	if record.Key != key {
		turn.diverge(key)
	}
	turn.due = turn.due[1:]
	return &record
}

func (record *Record) into(output any) error {
	if record.Status == "failed" {
		return errors.New(record.Error)
	}
	return json.Unmarshal(record.Output, output)
}

func (turn *Turn) diverge(got string) {
	record := turn.due[0]
	turn.end(Action{"action": "diverged", "position": *record.Position, "expected": record.Key, "got": got})
}

// end sends the last line and abandons the function.
func (turn *Turn) end(action Action) {
	turn.send(action)
	runtime.Goexit()
}
