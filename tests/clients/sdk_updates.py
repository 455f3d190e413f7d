"""The streams of the broker's own SDK, unmodified: market feed, depth, order updates.

    python sdk_updates.py CLIENT_ID

Prints one JSON object a line for each step: `step`, and what the SDK made of the message. What the SDK itself prints
goes to standard error. Ends with status 1 if a message is missing.
"""

import asyncio
import contextlib
import json
import sys

from dhanhq import DhanContext, FullDepth, MarketFeed, OrderUpdate, dhanhq

# Whoever signs replaces this; it would be refused by the broker.
PLACEHOLDER = "placeholder"


def say(step, data):
    print(json.dumps({"step": step, "data": data}), file=sys.__stdout__, flush=True)


def feed(context):
    market = MarketFeed(context, [(MarketFeed.NSE, "11536", MarketFeed.Ticker)])
    market.run_forever()
    say("feed", market.get_data())
    market.close_connection()


def depth(context):
    full = FullDepth(context, [(FullDepth.NSE, "11536")])
    full.run_forever()

    async def first():
        # Not `get_data`, which shows nothing unless bids and asks come in one message.
        async for update in full.get_instrument_data():
            return update

    update = full.loop.run_until_complete(first())
    say("depth", {"type": update["type"], "levels": len(update["depth"]), "best": update["depth"][0]})
    full.loop.run_until_complete(full.ws.close())


async def updates(context):
    dhan = dhanhq(context)
    alerts = asyncio.Queue()
    stream = OrderUpdate(context)
    stream.on_update = alerts.put_nowait
    listening = asyncio.create_task(stream.connect_order_update())

    async def alert_of(order_id):
        while (message := await alerts.get())["Data"]["orderNo"] != order_id:
            pass
        return message["Data"]

    def place():
        return dhan.place_order("11536", dhan.NSE, dhan.BUY, 5, dhan.LIMIT, dhan.INTRA, 3310.5)["data"]["orderId"]

    # The SDK does not say when it has logged in, and an order of before that is not announced.
    for _ in range(10):
        order_id = await asyncio.to_thread(place)
        try:
            data = await asyncio.wait_for(alert_of(order_id), 2)
        except TimeoutError:
            continue
        finally:
            await asyncio.to_thread(dhan.cancel_order, order_id)
        say("alert", {"placed": order_id, "orderNo": data["orderNo"], "status": data["status"]})
        break
    else:
        raise SystemExit("no order_alert")
    listening.cancel()


def main(client_id):
    context = DhanContext(client_id, PLACEHOLDER)
    with contextlib.redirect_stdout(sys.stderr):
        feed(context)
        depth(context)
        asyncio.run(updates(context))


if __name__ == "__main__":
    main(*sys.argv[1:])
