// One order with net/http: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.
//
//	go run go_orders.go [https://api.dhan.co/v2 | http://api.dhan.co/v2]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	base := "https://api.dhan.co/v2"
	if len(os.Args) > 1 {
		base = os.Args[1]
	}
	correlationID := fmt.Sprintf("go-%x", time.Now().UnixNano())
	order, err := json.Marshal(map[string]any{
		"correlationId":   correlationID,
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
		log.Fatal(err)
	}
	placed := step("place", http.MethodPost, base+"/orders", order)
	step("read", http.MethodGet, base+"/orders/external/"+correlationID, nil)
	step("cancel", http.MethodDelete, fmt.Sprintf("%s/orders/%s", base, placed["orderId"]), nil)
}

func step(name, method, url string, body []byte) map[string]any {
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer reply.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}
	line, err := json.Marshal(map[string]any{"step": name, "status": reply.StatusCode, "body": answer})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
	if reply.StatusCode != http.StatusOK {
		os.Exit(1)
	}
	return answer
}
