"""One order with http.client, which knows no proxy: place, read by correlation id, cancel. One JSON line a step.

    python http_client_orders.py [https://api.dhan.co/v2 | http://127.0.0.1:8080/v2]
"""

import base64
import http.client
import json
import sys
import urllib.parse
import uuid

BASE = urllib.parse.urlsplit(sys.argv[1] if len(sys.argv) > 1 else "https://api.dhan.co/v2")
KIND = http.client.HTTPSConnection if BASE.scheme == "https" else http.client.HTTPConnection
CONNECTION = KIND(BASE.hostname, BASE.port, timeout=30)
HEADERS = {}
if BASE.username:  # a client key
    shown = base64.b64encode(f"{BASE.username}:{BASE.password}".encode()).decode()
    HEADERS["Authorization"] = f"Basic {shown}"


def step(name, method, path, body=None):
    headers = HEADERS | ({"Content-Type": "application/json"} if body else {})
    CONNECTION.request(method, f"{BASE.path}{path}", json.dumps(body) if body else None, headers)
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
