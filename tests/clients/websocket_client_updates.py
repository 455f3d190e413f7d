"""Order updates and the market feed with websocket-client, both with a placeholder for a token.

One JSON line a step: `ticker`, then `pong`, `place` and `alert`; status 1 if one is missing. websocket-client reads the
proxy from its environment and the authority from `SSL_CERT_FILE`.

    python websocket_client_updates.py [ws://127.0.0.1:8080/ws http://127.0.0.1:8080/v2]
"""

import base64
import json
import os
import ssl
import struct
import sys
import urllib.parse

import requests
import websocket

if len(sys.argv) > 1:
    BASE, API = sys.argv[1:]
    FEED, UPDATES = f"{BASE}/feed", f"{BASE}/order-update"
else:
    API = "https://api.dhan.co/v2"
    FEED, UPDATES = "wss://api-feed.dhan.co", "wss://api-order-update.dhan.co"
FEED += "?version=2&token=placeholder&clientId=0&authType=2"
LOGIN = {"LoginReq": {"MsgCode": 42, "ClientId": "0", "Token": "placeholder"}, "UserType": "SELF"}
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


def say(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


def authorization(url):
    """A client key, where the URL of a listener has one: the library itself does not send it."""
    parts = urllib.parse.urlsplit(url)
    if not parts.username:
        return None
    shown = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    return {"Authorization": f"Basic {shown}"}


def connect(url):
    sslopt = {"context": ssl.create_default_context()}
    return websocket.create_connection(url, timeout=20, sslopt=sslopt, header=authorization(url))


def main():
    feed = connect(FEED)
    one = {"ExchangeSegment": "NSE_EQ", "SecurityId": "11536"}
    feed.send(json.dumps({"RequestCode": 15, "InstrumentCount": 1, "InstrumentList": [one]}))
    code, length, segment, security_id, price, _ = struct.unpack("<BHBIfI", feed.recv())
    say("ticker", code=code, length=length, segment=segment, securityId=security_id, price=round(price, 2))
    feed.close()

    updates = connect(UPDATES)
    updates.send(json.dumps(LOGIN))
    # Not acknowledged: an answer to a ping shows that the login was read.
    updates.ping("read?")
    opcode, payload = updates.recv_data(control_frame=True)
    say("pong", opcode=opcode, payload=payload.decode())
    placed = requests.post(f"{API}/orders", json=ORDER, timeout=20, verify=os.environ.get("SSL_CERT_FILE"))
    say("place", status=placed.status_code, body=placed.json())
    alert = json.loads(updates.recv())
    say("alert", orderId=alert["Data"]["orderNo"], orderStatus=alert["Data"]["status"])
    updates.close()


if __name__ == "__main__":
    main()
