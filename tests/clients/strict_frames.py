"""A strict WebSocket peer (wsproto) against whatever stands between it and the broker's feed and order updates.

    python strict_frames.py PROXY_HOST PROXY_PORT

Every byte that comes is checked by wsproto, which ends at the first one that RFC 6455 does not allow. One JSON line a
case: `case`, and `result`: `open` and what came, or the code and the words of the Close. Status 1 if a case cannot be
tried.
"""

import json
import socket
import struct
import sys

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

FEED = ("api-feed.dhan.co", "/?version=2&token=placeholder&clientId=0&authType=2")
UPDATES = ("api-order-update.dhan.co", "/")
LOGIN = json.dumps({"UserType": "SELF", "LoginReq": {"Token": "x", "ClientId": "0", "MsgCode": 42}}).encode()
SUBSCRIBE = json.dumps(
    {
        "RequestCode": 15,
        "InstrumentCount": 1,
        "InstrumentList": [{"ExchangeSegment": "NSE_EQ", "SecurityId": "11536"}],
    }
).encode()
MASK = b"\x11\x22\x33\x44"


def frame(opcode, payload, fin=True, mask=MASK, rsv=0):
    """A frame of a client, right or wrong."""
    length = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    masked = 0x80 if mask else 0
    if length < 126:
        head += bytes([masked | length])
    elif length < 65536:
        head += bytes([masked | 126]) + struct.pack(">H", length)
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", length)
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Peer:
    def __init__(self, proxy, target, offer_deflate=False):
        host, path = target
        self.socket = socket.create_connection(proxy, timeout=15)
        self.strict = WSConnection(ConnectionType.CLIENT)
        extensions = [PerMessageDeflate()] if offer_deflate else []
        asked = self.strict.send(Request(host=host, target=f"http://{host}{path}", extensions=extensions))
        self.socket.sendall(asked)
        self.pending = []
        accepted = self.next()
        assert isinstance(accepted, AcceptConnection), accepted

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # It has ended it meanwhile: what it said is read below.

    def next(self):
        """The next event; `None` at the end of the connection."""
        while not self.pending:
            data = self.socket.recv(65536)
            self.strict.receive_data(data or None)
            self.pending = list(self.strict.events())
            if not data and not self.pending:
                return None
        return self.pending.pop(0)

    def closed(self):
        """The Close that comes, whatever comes before it. It is answered, as a strict peer has to."""
        while True:
            event = self.next()
            if event is None:
                return {"end": "without a Close"}
            if isinstance(event, CloseConnection):
                if event.code != 1006:
                    self.send(frame(8, struct.pack(">H", event.code) if event.code != 1005 else b""))
                # The server ends the connection first.
                self.socket.settimeout(10)
                try:
                    while self.socket.recv(4096):
                        pass
                    ended = True
                except OSError:
                    ended = False
                return {"code": int(event.code), "words": event.reason or "", "ended": ended}

    def until(self, kind):
        while True:
            event = self.next()
            if event is None or isinstance(event, kind):
                return event
            if isinstance(event, CloseConnection):
                raise SystemExit(f"a Close in place of {kind.__name__}: {event}")


def answers(peer):
    """Is the socket as it was? A ping says."""
    peer.send(frame(9, b"still there"))
    return bytes(peer.until(Pong).payload) == b"still there"


def fragments(peer):
    cut = len(SUBSCRIBE) // 2
    peer.send(frame(1, SUBSCRIBE[:cut], fin=False))
    peer.send(frame(9, b"between"))
    pong = peer.until(Pong)
    peer.send(frame(0, b"", fin=False) + frame(0, SUBSCRIBE[cut:]))
    packet = peer.until(BytesMessage).data
    return {"pong": bytes(pong.payload).decode(), "code": packet[0], "length": len(packet), "open": answers(peer)}


def bytewise(peer):
    for at in frame(1, SUBSCRIBE):
        peer.send(bytes([at]))
    return {"code": peer.until(BytesMessage).data[0], "open": answers(peer)}


def ping(peer):
    peer.send(frame(9, b"x" * 125) + frame(9, b"") + frame(10, b"unasked"))
    return {"lengths": [len(peer.until(Pong).payload), len(peer.until(Pong).payload)], "open": answers(peer)}


def after_login(peer):
    peer.send(frame(1, b"heartbeat") + frame(2, LOGIN[:20], fin=False) + frame(9, b"between"))
    peer.send(frame(0, LOGIN[20:]) + frame(1, LOGIN) + frame(1, b"{}"))
    assert peer.until(Pong).payload == b"between"
    return {"open": answers(peer)}


def says(*frames):
    def case(peer):
        for one in frames:
            peer.send(one)
        return peer.closed()

    return case


CASES = {
    "fragments with a ping between": (FEED, fragments),
    "a byte at a time": (FEED, bytewise),
    "pings of 125 and of no bytes, an unasked pong": (FEED, ping),
    "a login in binary fragments, texts before and after it": (UPDATES, after_login),
    "no mask": (FEED, says(frame(1, b"x", mask=None))),
    "RSV1 without an extension": (FEED, says(frame(1, b"x", rsv=0x40))),
    "RSV2": (FEED, says(frame(1, b"x", rsv=0x20))),
    "RSV1 on order updates": (UPDATES, says(frame(1, LOGIN, rsv=0x40))),
    "opcode 3": (FEED, says(frame(3, b"x"))),
    "opcode 11": (FEED, says(frame(11, b"x"))),
    "a fragmented ping": (FEED, says(frame(9, b"x", fin=False))),
    "a ping of 126 bytes": (FEED, says(frame(9, b"x" * 126))),
    "a continuation of nothing": (FEED, says(frame(0, b"x"))),
    "a message inside another": (FEED, says(frame(1, b"x", fin=False), frame(1, b"y"))),
    "a length with its highest bit": (FEED, says(b"\x82\xff" + b"\xff" * 8 + MASK)),
    "text that is no UTF-8": (FEED, says(frame(1, b"\xce\xba\xe1\xbd\xb9\xff"))),
    "text that ends inside a character": (FEED, says(frame(1, b"\xe2", fin=False), frame(0, b"\x82"))),
    "a message of more than 1 MiB": (FEED, says(frame(2, b"x" * (1 << 20) + b"y"))),
    "fragments of more than 1 MiB": (FEED, says(*[frame(2 if n == 0 else 0, b"x" * 65536, fin=False) for n in range(17)])),
    "a login of more than 16 KiB": (UPDATES, says(frame(1, b"x" * 17000))),
    "Close 1000": (FEED, says(frame(8, struct.pack(">H", 1000) + b"bye"))),
    "Close without a code": (FEED, says(frame(8, b""))),
    "Close 4000": (FEED, says(frame(8, struct.pack(">H", 4000)))),
    "Close with half a code": (FEED, says(frame(8, b"\x03"))),
    "Close 1005": (FEED, says(frame(8, struct.pack(">H", 1005)))),
    "Close 1006": (FEED, says(frame(8, struct.pack(">H", 1006)))),
    "Close 2999": (FEED, says(frame(8, struct.pack(">H", 2999)))),
    "Close with a reason that is no UTF-8": (FEED, says(frame(8, struct.pack(">H", 1000) + b"\xff\xfe"))),
}


def main(host, port):
    for name, (target, case) in CASES.items():
        peer = Peer((host, int(port)), target)
        print(json.dumps({"case": name, "result": case(peer)}), flush=True)
        peer.socket.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
