"""One order and the market feed with bytes as .NET sends them, which is not here itself; one JSON line a step.

    python dotnet_shaped.py [http://127.0.0.1:8080/v2]

Written after the sources of `HttpClient` (`HttpConnection.WriteHeaders`) and `ClientWebSocket` (`AddWebSocketHeaders`):
`Host` is first, then what the program asked for in its order, and what describes the body is last; `JsonContent` has no
length, so its body is chunked; a body that waits (`Expect: 100-continue`) is sent after a second whatever comes. Of a
proxy in HTTP_PROXY or HTTPS_PROXY the credentials are shown only after a 407, over the same connection if it stays. `ws:`
is a tunnel to port 80, too. `ClientWebSocket` offers no extension, and says Pong unasked.
"""

import base64
import json
import os
import socket
import ssl
import struct
import sys
import urllib.parse
import uuid

ORDER = {
    "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
    "validity": "DAY", "securityId": "11536", "quantity": 5, "price": 3310.5,
}
FEED = "?version=2&token=placeholder&clientId=0&authType=2"
BODY = "Content-Type: application/json; charset=utf-8"


def say(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


def basic(url):
    return "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode()


class Connection:
    """A connection to whatever stands for a URL's host, by the proxy that the environment names for its scheme."""

    def __init__(self, url):
        self.url = urllib.parse.urlsplit(url)
        secure = self.url.scheme in ("https", "wss")
        proxy = os.environ.get("https_proxy" if secure else "http_proxy") or os.environ.get(
            "HTTPS_PROXY" if secure else "HTTP_PROXY")
        self.proxy = urllib.parse.urlsplit(proxy) if proxy else None
        port = self.url.port or (443 if secure else 80)
        tunnel = self.proxy and self.url.scheme != "http"
        self.at = (self.proxy.hostname, self.proxy.port) if self.proxy else (self.url.hostname, port)
        self.connect()
        self.absolute = f"http://{self.url.netloc}" if self.proxy and not tunnel else ""
        self.shows = False
        if tunnel:
            target = f"{self.url.hostname}:{port}"
            status, _, _ = self.ask(f"CONNECT {target} HTTP/1.1", [f"Host: {target}"], tunnel=True)
            assert status == 200, f"CONNECT: {status}"
        if secure:
            context = ssl.create_default_context()
            self.socket = context.wrap_socket(self.socket, server_hostname=self.url.hostname)
            self.reader = self.socket.makefile("rb")

    def connect(self):
        self.socket = socket.create_connection(self.at, timeout=30)
        self.reader = self.socket.makefile("rb")

    def host(self):
        port = f":{self.url.port}" if self.url.port else ""
        return f"Host: {self.url.hostname}{port}"

    def request(self, method, path, headers=(), body=()):
        if self.url.username:
            headers = [f"Authorization: {basic(self.url)}", *headers]
        return self.ask(f"{method} {self.absolute}{path} HTTP/1.1", [self.host(), *headers], body)

    def ask(self, line, headers, body=(), tunnel=False):
        while True:
            shown = [f"Proxy-Authorization: {basic(self.proxy)}"] if self.shows else []
            waits = any(header.startswith("Expect:") for header in headers)
            self.send("\r\n".join([line, *headers[:1], *shown, *headers[1:], "", ""]).encode())
            if waits:
                # Nothing is sent before the answer, or a second without one.
                self.socket.settimeout(1)
                try:
                    status, fields = self.head()
                except TimeoutError:
                    status, fields = 100, {}
                self.socket.settimeout(30)
                if status == 100:
                    for piece in body:
                        self.send(piece)
                    status, fields = self.head()
            else:
                for piece in body:
                    self.send(piece)
                status, fields = self.head()
            text = b"" if status in (101, 200) and tunnel or status == 101 else self.body(fields)
            if status == 407 and self.proxy and self.proxy.username and not self.shows:
                assert fields["proxy-authenticate"].startswith("Basic"), fields
                # Whoever has not sent its body is told to send nothing more there.
                if "close" in fields.get("connection", "").lower():
                    self.connect()
                self.shows = True
                continue
            if not self.absolute:
                self.shows = False
            return status, fields, text

    def send(self, data):
        self.socket.sendall(data)

    def head(self):
        status = int(self.reader.readline().split()[1])
        fields = {}
        while (line := self.reader.readline().strip()):
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def body(self, fields):
        if fields.get("transfer-encoding", "").lower() == "chunked":
            whole = b""
            while (length := int(self.reader.readline(), 16)):
                whole += self.reader.read(length)
                self.reader.readline()
            self.reader.readline()
            return whole
        return self.reader.read(int(fields.get("content-length", 0)))


def order(base, chunked):
    connection = Connection(base)
    path = connection.url.path
    correlation_id = f"net-{uuid.uuid4().hex[:12]}"
    body = json.dumps(ORDER | {"correlationId": correlation_id}, separators=(",", ":")).encode()

    def step(name, method, at, headers=(), pieces=()):
        status, _, text = connection.request(method, f"{path}{at}", headers, pieces)
        say(name, status=status, body=json.loads(text))
        if status != 200:
            sys.exit(1)
        return json.loads(text)

    if chunked:
        pieces = [b"%x\r\n%s\r\n" % (len(body), body), b"0\r\n\r\n"]
        placed = step("place", "POST", "/orders", ["Transfer-Encoding: chunked", BODY], pieces)
    else:
        headers = ["Accept: application/json", "Expect: 100-continue", BODY, f"Content-Length: {len(body)}"]
        placed = step("place", "POST", "/orders", headers, [body])
    step("read", "GET", f"/orders/external/{correlation_id}")
    step("cancel", "DELETE", f"/orders/{placed['orderId']}")


def frame(opcode, payload):
    mask = os.urandom(4)
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([0x80 | opcode]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def read_frame(reader):
    first, second = reader.read(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", reader.read(2))
    return first & 0x0F, reader.read(length)


def feed(url):
    connection = Connection(url)
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    status, fields, _ = connection.request("GET", f"{connection.url.path or '/'}{FEED}", upgrade)
    # It ends a handshake whose answer has another value, or any extension.
    named = (fields.get("connection"), fields.get("upgrade"), fields.get("sec-websocket-extensions"))
    assert status == 101 and (named[0].lower(), named[1].lower(), named[2]) == ("upgrade", "websocket", None), fields
    one = {"ExchangeSegment": "NSE_EQ", "SecurityId": "11536"}
    subscribe = {"RequestCode": 15, "InstrumentCount": 1, "InstrumentList": [one]}
    connection.send(frame(10, b"") + frame(1, json.dumps(subscribe).encode()))
    while (message := read_frame(connection.reader))[0] != 2:
        assert message[0] == 9, message
        connection.send(frame(10, message[1]))
    say("ticker", code=message[1][0], securityId=struct.unpack("<I", message[1][4:8])[0])
    connection.send(frame(8, struct.pack(">H", 1000)))
    while (message := read_frame(connection.reader))[0] != 8:
        pass
    say("closed", code=struct.unpack(">H", message[1][:2])[0])


def main(base=None):
    if base:
        listener = base.removesuffix("/v2")
        order(base, chunked=False)
        order(base, chunked=True)
        feed(f"{listener.replace('http:', 'ws:')}/ws/feed")
        return
    for scheme, stream in (("https", "wss"), ("http", "ws")):
        order(f"{scheme}://api.dhan.co/v2", chunked=False)
        order(f"{scheme}://api.dhan.co/v2", chunked=True)
        feed(f"{stream}://api-feed.dhan.co")


if __name__ == "__main__":
    main(*sys.argv[1:])
