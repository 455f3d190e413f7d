"""A small order engine: places one limit order through Sixgate, exactly once, and reads it back.

    python3 examples/engine.py [http://127.0.0.1:8080/v2]

It needs nothing but Python. It prints one JSON line for each step; its exit code is 0 when the
order was executed, 1 when it was not, and 3 when a person has to look in the order book.
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

# Longer than orders.leave_within, response_timeout and reconcile_for together (18 s), so that the
# gateway's answer is never missed by impatience.
TIMEOUT_S = 20
TRIES = 8


class NotPlaced(Exception):
    """The order is not in the market, and sending it again would not help."""


class NobodyKnows(Exception):
    """Look in the order book before doing anything else."""


def say(**step):
    print(json.dumps(step), flush=True)


def call(method, url, body=None):
    """The status, headers and JSON of a reply, whatever its status is."""
    request = urllib.request.Request(url, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        reply = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as refusal:
        reply = refusal
    with reply:
        text = reply.read()
        return reply.status, reply.headers, json.loads(text) if text else None


def place(base, order):
    """Place this order once. Every try has the same correlationId, so a try whose answer was lost
    is answered with what became of it, and is not sent to the broker again."""
    order = {**order, "correlationId": f"py-{uuid.uuid4().hex[:20]}"}
    outcome = None
    for attempt in range(1, TRIES + 1):
        try:
            status, headers, reply = call("POST", f"{base}/orders", order)
        except (OSError, ValueError, http.client.HTTPException) as err:
            # The answer of the gateway itself was lost: ask again under the same id.
            say(step="place", attempt=attempt, error=str(err))
            outcome = None
            time.sleep(1)
            continue
        outcome = headers["sixgate-outcome"]
        if outcome is None and status >= 500:
            # It broke down on the way, here or in something between: the order may have been sent.
            outcome = "unknown"
        repeat = headers["sixgate-repeat"] is not None
        say(step="place", attempt=attempt, status=status, outcome=outcome, repeat=repeat)
        if outcome == "executed":
            return reply["orderId"]
        retry_after = headers["Retry-After"]
        nothing_done = outcome in ("not_sent", "rejected")
        if outcome == "unknown" or (nothing_done and retry_after is not None):
            # Unknown: the gateway asks the broker once more. Nothing done, and Retry-After: waiting
            # helps (a limit, a login under way). Without Retry-After a refusal is for good.
            time.sleep(float(retry_after or 1))
            continue
        raise NotPlaced(f"{status} {outcome}: {reply}")
    if outcome == "not_sent":
        raise NotPlaced(f"not sent in {TRIES} tries")
    raise NobodyKnows(f"no answer for {order['correlationId']} after {TRIES} tries")


def main(base="http://127.0.0.1:8080/v2"):
    order = {
        "transactionType": "BUY",
        "exchangeSegment": "NSE_EQ",
        "productType": "INTRADAY",
        "orderType": "LIMIT",
        "validity": "DAY",
        "securityId": "11536",
        "quantity": 5,
        "price": 3310.5,
    }
    try:
        order_id = place(base, order)
    except NotPlaced as why:
        say(step="not placed", why=str(why))
        return 1
    except NobodyKnows as why:
        say(step="look in the order book", why=str(why))
        return 3
    _, _, found = call("GET", f"{base}/orders/{order_id}")
    # The broker answers with an array of one.
    found = found[0] if isinstance(found, list) else found
    say(step="done", orderId=order_id, orderStatus=found["orderStatus"])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
