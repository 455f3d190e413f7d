"""Order updates and the market feed with websockets, both with a placeholder for a token.

One JSON line a step: `ticker`, then `place`, `cancel` and the `alert` that each of them causes; status 1 if one is
missing. The orders are placed with httpx.
"""

import asyncio
import json
import struct
import uuid

import httpx
from websockets.asyncio.client import connect

API = "https://api.dhan.co/v2"
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
CLIENT_ID = "0"  # whoever signs puts the account's own there, and its token
FEED = f"wss://api-feed.dhan.co?version=2&token=placeholder&clientId={CLIENT_ID}&authType=2"
SUBSCRIBE = {
    "RequestCode": 15,
    "InstrumentCount": 1,
    "InstrumentList": [{"ExchangeSegment": "NSE_EQ", "SecurityId": "11536"}],
}
UPDATES = "wss://api-order-update.dhan.co"
LOGIN = {"LoginReq": {"MsgCode": 42, "ClientId": CLIENT_ID, "Token": "placeholder"}, "UserType": "SELF"}


def say(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


async def ticker():
    async with connect(FEED) as feed:
        await feed.send(json.dumps(SUBSCRIBE))
        packet = await feed.recv()
        code, length, segment, security_id, price, _ = struct.unpack("<BHBIfI", packet)
        say("ticker", code=code, length=length, segment=segment, securityId=security_id, price=round(price, 2))


async def updates():
    async with connect(UPDATES) as socket, httpx.AsyncClient() as client:
        await socket.send(json.dumps(LOGIN))

        async def alert(order_id, status):
            async for text in socket:
                message = json.loads(text)
                data = message.get("Data", {})
                if message.get("Type") == "order_alert" and (data["orderNo"], data["status"]) == (order_id, status):
                    return say("alert", orderId=order_id, orderStatus=status)
            raise SystemExit("the order updates ended")

        # The broker does not acknowledge a login; until an answer to a ping shows that it has read ours, an order
        # could be placed unseen.
        await (await socket.ping())
        order = ORDER | {"correlationId": f"websockets-{uuid.uuid4().hex[:12]}"}
        placed = await client.post(f"{API}/orders", json=order)
        say("place", status=placed.status_code, body=placed.json())
        placed.raise_for_status()
        order_id = placed.json()["orderId"]
        await alert(order_id, "Pending")
        cancelled = await client.delete(f"{API}/orders/{order_id}")
        say("cancel", status=cancelled.status_code, body=cancelled.json())
        cancelled.raise_for_status()
        await alert(order_id, "Cancelled")


async def main():
    async with asyncio.timeout(30):
        await ticker()
        await updates()


if __name__ == "__main__":
    asyncio.run(main())
