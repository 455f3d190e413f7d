// One order with undici: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.
//
//     node node_orders.mjs [https://api.dhan.co/v2]

import { randomUUID } from "node:crypto";
import { EnvHttpProxyAgent, request, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());

const order = {
  transactionType: "BUY",
  exchangeSegment: "NSE_EQ",
  productType: "INTRADAY",
  orderType: "LIMIT",
  validity: "DAY",
  securityId: "11536",
  quantity: 5,
  price: 3310.5,
};

async function step(name, url, options) {
  const reply = await request(url, options);
  const body = await reply.body.json();
  console.log(JSON.stringify({ step: name, status: reply.statusCode, body }));
  if (reply.statusCode !== 200) process.exit(1);
  return body;
}

const base = process.argv[2] ?? "https://api.dhan.co/v2";
const correlationId = `node-${randomUUID().slice(0, 13)}`;
const placed = await step("place", `${base}/orders`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ ...order, correlationId }),
});
await step("read", `${base}/orders/external/${correlationId}`);
await step("cancel", `${base}/orders/${placed.orderId}`, { method: "DELETE" });
