"""A strict WebSocket server (websockets) in the broker's place: says what it hears back, compressed where that is asked.

    python strict_broker.py HOST PORT CERTIFICATE KEY

`listening` once it is. A text `big` is answered with 3 MB in one message, `fragments` with a message in four frames,
`leave` with Close 4001. Each connection's end is one JSON line: the code and the reason that it was told, and the
address that it came from.
"""

import asyncio
import json
import logging
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

BIG = bytes(range(256)) * 12000


async def talk(connection):
    peer = connection.remote_address[0]
    try:
        async for message in connection:
            if message == "big":
                await connection.send(BIG)
            elif message == "fragments":
                await connection.send(["fra", "gm", "ent", "s"])
            elif message == "leave":
                await connection.close(4001, "enough")
            else:
                await connection.send(message)
    except ConnectionClosed:
        pass
    end = {"code": connection.close_code, "reason": connection.close_reason, "peer": peer}
    print(json.dumps(end), flush=True)


async def main(host, port, certificate, key):
    logging.disable(logging.CRITICAL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with serve(talk, host, int(port), ssl=context, ping_interval=1, ping_timeout=20) as server:
        print("listening", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
