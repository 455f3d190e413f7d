"""The life of one order through the broker's own SDK, unmodified: place, read, modify, cancel, list.

    HTTPS_PROXY=http://127.0.0.1:8080 REQUESTS_CA_BUNDLE=ca.pem python sdk_orders.py CLIENT_ID [CORRELATION_ID]

Prints one JSON object a line for each step: `step`, and what the SDK returned: `status`, `remarks`, `data`. Goes on
after a step that failed, as far as there is an order to go on with, and ends with status 1 if any did.
"""

import json
import sys

from dhanhq import DhanContext, dhanhq

# Whoever signs replaces this; it would be refused by the broker.
PLACEHOLDER = "placeholder"


def main(client_id, correlation_id=None):
    dhan = dhanhq(DhanContext(client_id, PLACEHOLDER))
    failed = False

    def step(name, answer):
        nonlocal failed
        failed = failed or answer["status"] != "success"
        print(json.dumps({"step": name, **answer}), flush=True)
        return answer["data"]

    placed = step(
        "place",
        dhan.place_order(
            security_id="1333",
            exchange_segment=dhan.NSE,
            transaction_type=dhan.BUY,
            quantity=10,
            order_type=dhan.LIMIT,
            product_type=dhan.INTRA,
            price=1500.0,
            tag=correlation_id,
        ),
    )
    order_id = placed.get("orderId") if isinstance(placed, dict) else None
    if order_id is None:
        return 1
    step("read", dhan.get_order_by_id(order_id))
    if correlation_id is not None:
        step("read by correlation id", dhan.get_order_by_correlationID(correlation_id))
    step(
        "modify",
        dhan.modify_order(
            order_id=order_id,
            order_type=dhan.LIMIT,
            leg_name="ENTRY_LEG",
            quantity=20,
            price=1490.0,
            trigger_price=0,
            disclosed_quantity=0,
            validity=dhan.DAY,
        ),
    )
    step("read again", dhan.get_order_by_id(order_id))
    step("cancel", dhan.cancel_order(order_id))
    step("list", dhan.get_order_list())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
