// A small order engine: places one limit order through Sixgate, exactly once, and reads it back.
//
//	go run examples/engine.go [http://127.0.0.1:8080/v2]
//
// It needs only Go's standard library. It prints one JSON line for each step; its exit code is 0
// when the order was executed, 1 when it was not, and 3 when a person has to look in the order book.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Longer than orders.leave_within, response_timeout and reconcile_for together (18 s), so that the
// gateway's answer is never missed by impatience.
var client = http.Client{Timeout: 20 * time.Second}

const tries = 8

// The order is not in the market, and sending it again would not help.
var errNotPlaced = errors.New("not placed")

// Look in the order book before doing anything else.
var errNobodyKnows = errors.New("look in the order book")

type object = map[string]any

func say(step object) {
	line, err := json.Marshal(step)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// call answers the status, headers and body of a reply, whatever its status is.
func call(method, url string, body any) (int, http.Header, []byte, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, url, content)
	if err != nil {
		return 0, nil, nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	reply, err := client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	return reply.StatusCode, reply.Header, text, err
}

// place places this order once. Every try has the same correlationId, so a try whose answer was
// lost is answered with what became of it, and is not sent to the broker again.
func place(base string, order object) (string, error) {
	id := make([]byte, 10)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	order["correlationId"] = fmt.Sprintf("go-%x", id)
	outcome := ""
	for attempt := 1; attempt <= tries; attempt++ {
		status, headers, text, err := call(http.MethodPost, base+"/orders", order)
		if err != nil {
			// The answer of the gateway itself was lost: ask again under the same id.
			say(object{"step": "place", "attempt": attempt, "error": err.Error()})
			outcome = ""
			time.Sleep(time.Second)
			continue
		}
		outcome = headers.Get("sixgate-outcome")
		if outcome == "" && status >= 500 {
			// It broke down on the way, here or in something between: the order may have been sent.
			outcome = "unknown"
		}
		retryAfter := headers.Get("Retry-After")
		repeat := headers.Get("sixgate-repeat") != ""
		say(object{"step": "place", "attempt": attempt, "status": status, "outcome": outcome, "repeat": repeat})
		if outcome == "executed" {
			var placed struct{ OrderID string }
			err := json.Unmarshal(text, &placed)
			return placed.OrderID, err
		}
		// Nothing done, and Retry-After: waiting helps. Without it a refusal is for good.
		nothingDone := outcome == "not_sent" || outcome == "rejected"
		if outcome == "unknown" || (nothingDone && retryAfter != "") {
			// Unknown: the gateway asks the broker once more. Not sent: waiting helps.
			seconds, err := strconv.Atoi(retryAfter)
			if err != nil {
				seconds = 1
			}
			time.Sleep(time.Duration(seconds) * time.Second)
			continue
		}
		return "", fmt.Errorf("%w: %d %s: %s", errNotPlaced, status, outcome, text)
	}
	if outcome == "not_sent" {
		return "", fmt.Errorf("%w: not sent in %d tries", errNotPlaced, tries)
	}
	return "", fmt.Errorf("%w: no answer for %s after %d tries", errNobodyKnows, order["correlationId"], tries)
}

func run(base string) error {
	orderID, err := place(base, object{
		"transactionType": "BUY",
		"exchangeSegment": "NSE_EQ",
		"productType":     "INTRADAY",
		"orderType":       "LIMIT",
		"validity":        "DAY",
		"securityId":      "11536",
		"quantity":        5,
		"price":           3310.5,
	})
	if err != nil {
		return err
	}
	_, _, text, err := call(http.MethodGet, base+"/orders/"+orderID, nil)
	if err != nil {
		return err
	}
	// The broker answers with an array of one.
	var found []struct{ OrderStatus string }
	if err := json.Unmarshal(text, &found); err != nil || len(found) == 0 {
		return fmt.Errorf("the order was placed, and %s is no order: %w", text, err)
	}
	say(object{"step": "done", "orderId": orderID, "orderStatus": found[0].OrderStatus})
	return nil
}

func main() {
	base := "http://127.0.0.1:8080/v2"
	if len(os.Args) > 1 {
		base = os.Args[1]
	}
	err := run(base)
	if err == nil {
		return
	}
	say(object{"step": "ended", "why": err.Error()})
	if errors.Is(err, errNobodyKnows) {
		os.Exit(3)
	}
	os.Exit(1)
}
