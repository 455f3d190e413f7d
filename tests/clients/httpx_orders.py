"""One order with httpx: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.

    python httpx_orders.py [https://api.dhan.co/v2 | http://api.dhan.co/v2]
"""

import json
import sys
import uuid

import httpx

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
    correlation_id = f"httpx-{uuid.uuid4().hex[:12]}"
    with httpx.Client() as client:
        placed = step("place", client.post(f"{base}/orders", json=ORDER | {"correlationId": correlation_id}))
        step("read", client.get(f"{base}/orders/external/{correlation_id}"))
        step("cancel", client.delete(f"{base}/orders/{placed['orderId']}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
