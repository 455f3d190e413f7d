"""What comes back of what is said, with and without compression, through whatever stands between; for strict_broker.py.

One JSON line: was compression agreed upon, what came back whole, and how it ended.
"""

import asyncio
import json
import os

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

FEED = "wss://api-feed.dhan.co?version=2&token=placeholder&clientId=0&authType=2"


async def echo(compression):
    async with asyncio.timeout(60), connect(FEED, compression=compression, max_size=None) as feed:
        agreed = "permessage-deflate" in feed.response.headers.get("Sec-WebSocket-Extensions", "")
        said = ["price " * 1000, os.urandom(200_000), "", b"", "ω" * 70_000]
        whole = []
        for message in said:
            await feed.send(message)
            whole.append(await feed.recv() == message)
        await feed.send(["in ", "three ", "pieces"])
        whole.append(await feed.recv() == "in three pieces")
        await feed.send("fragments")
        pieces = [piece async for piece in feed.recv_streaming() if piece]
        whole.append(pieces == ["fra", "gm", "ent", "s"])
        await feed.send("big")
        whole.append(len(await feed.recv()) == 256 * 12000)
        await (await feed.ping())
        await feed.send("leave")
        try:
            await feed.recv()
        except ConnectionClosed as closed:
            told = {"code": closed.rcvd.code, "reason": closed.rcvd.reason}
    print(json.dumps({"compression": agreed, "whole": whole, "told": told}), flush=True)


async def main():
    await echo("deflate")
    await echo(None)


if __name__ == "__main__":
    asyncio.run(main())
