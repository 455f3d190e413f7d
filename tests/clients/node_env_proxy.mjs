// One order with what Node 24 has built in, and no package: place by `fetch`, read by `https`, cancel by `fetch`. One JSON
// line a step; status 1 if any failed.

import { randomUUID } from "node:crypto";
import https from "node:https";

const base = "https://api.dhan.co/v2";
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

function say(step, status, body) {
  console.log(JSON.stringify({ step, status, body }));
  if (status !== 200) process.exit(1);
  return body;
}

const get = (url) =>
  new Promise((resolve, reject) => {
    const asked = https.get(url, async (reply) => {
      let text = "";
      for await (const piece of reply) text += piece;
      resolve({ status: reply.statusCode, body: JSON.parse(text) });
    });
    asked.on("error", reject);
  });

const correlationId = `node24-${randomUUID().slice(0, 13)}`;
const reply = await fetch(`${base}/orders`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ ...order, correlationId }),
});
const placed = say("place", reply.status, await reply.json());
const read = await get(`${base}/orders/external/${correlationId}`);
say("read", read.status, read.body);
const cancelled = await fetch(`${base}/orders/${placed.orderId}`, { method: "DELETE" });
say("cancel", cancelled.status, await cancelled.json());
