"""One order with requests: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.

    python requests_orders.py [https://api.dhan.co/v2 | http://api.dhan.co/v2]
"""

import json
import sys
import uuid

import requests

ORDER = {
    "transactionType": "BUY",
    "exchangeSegment": "NSE_EQ",
    "productType": "INTRADAY",
    "orderType": "LIMIT",
    "validity": "DAY",
    "securityId": "11536",
    "quantity": 5,
    "price": 3310.5,
}


def step(name, reply):
    print(json.dumps({"step": name, "status": reply.status_code, "body": reply.json()}), flush=True)
    reply.raise_for_status()
    return reply.json()


def main(base="https://api.dhan.co/v2"):
    correlation_id = f"requests-{uuid.uuid4().hex[:12]}"
    with requests.Session() as session:
        placed = step("place", session.post(f"{base}/orders", json=ORDER | {"correlationId": correlation_id}))
        step("read", session.get(f"{base}/orders/external/{correlation_id}"))
        step("cancel", session.delete(f"{base}/orders/{placed['orderId']}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
