"""One order with aiohttp: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.

    python aiohttp_orders.py [https://api.dhan.co/v2 | http://api.dhan.co/v2]
"""

import asyncio
import json
import sys
import uuid

import aiohttp

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


async def step(name, call):
    async with call as reply:
        body = await reply.json()
        print(json.dumps({"step": name, "status": reply.status, "body": body}), flush=True)
        reply.raise_for_status()
        return body


async def main(base="https://api.dhan.co/v2"):
    correlation_id = f"aiohttp-{uuid.uuid4().hex[:12]}"
    async with aiohttp.ClientSession(trust_env=True) as session:
        placed = await step("place", session.post(f"{base}/orders", json=ORDER | {"correlationId": correlation_id}))
        await step("read", session.get(f"{base}/orders/external/{correlation_id}"))
        await step("cancel", session.delete(f"{base}/orders/{placed['orderId']}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
