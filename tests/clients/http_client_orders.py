"""One order with http.client, which knows no proxy: place, read by correlation id, cancel. One JSON line a step.

    python http_client_orders.py
"""

import http.client
import json
import sys
import uuid

CONNECTION = http.client.HTTPSConnection("api.dhan.co", timeout=30)


def step(name, method, path, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    CONNECTION.request(method, f"/v2{path}", json.dumps(body) if body else None, headers)
    reply = CONNECTION.getresponse()
    answer = json.loads(reply.read())
    print(json.dumps({"step": name, "status": reply.status, "body": answer}), flush=True)
    if reply.status != 200:
        sys.exit(1)
    return answer


correlation_id = f"std-{uuid.uuid4().hex[:12]}"
placed = step("place", "POST", "/orders", {
    "correlationId": correlation_id, "transactionType": "BUY", "exchangeSegment": "NSE_EQ",
    "productType": "INTRADAY", "orderType": "LIMIT", "validity": "DAY", "securityId": "11536",
    "quantity": 5, "price": 3310.5,
})
step("read", "GET", f"/orders/external/{correlation_id}")
step("cancel", "DELETE", f"/orders/{placed['orderId']}")
