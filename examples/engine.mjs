// A small order engine: places one limit order through Sixgate, exactly once, and reads it back.
//
//     node examples/engine.mjs [http://127.0.0.1:8080/v2]
//
// It needs nothing but Node 18 or newer. It prints one JSON line for each step; its exit code is 0
// when the order was executed, 1 when it was not, and 3 when a person has to look in the order book.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

// Longer than orders.leave_within, response_timeout and reconcile_for together (18 s), so that the
// gateway's answer is never missed by impatience.
const TIMEOUT_MS = 20_000;
const TRIES = 8;

const say = (step) => console.log(JSON.stringify(step));

/** The status, headers and JSON of a reply, whatever its status is. */
async function call(method, url, body) {
  const reply = await fetch(url, {
    method,
    headers: body && { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await reply.text();
  return { status: reply.status, headers: reply.headers, json: text ? JSON.parse(text) : null };
}

/**
 * Place this order once. Every try has the same correlationId, so a try whose answer was lost is
 * answered with what became of it, and is not sent to the broker again.
 */
async function place(base, order) {
  order = { ...order, correlationId: `js-${randomUUID().replaceAll("-", "").slice(0, 20)}` };
  let outcome = null;
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    let reply;
    try {
      reply = await call("POST", `${base}/orders`, order);
    } catch (err) {
      // The answer of the gateway itself was lost: ask again under the same id.
      say({ step: "place", attempt, error: String(err.cause ?? err) });
      outcome = null;
      await sleep(1000);
      continue;
    }
    const { status, headers, json } = reply;
    outcome = headers.get("sixgate-outcome");
    if (outcome === null && status >= 500) {
      // It broke down on the way, here or in something between: the order may have been sent.
      outcome = "unknown";
    }
    say({ step: "place", attempt, status, outcome, repeat: headers.has("sixgate-repeat") });
    if (outcome === "executed") {
      return { orderId: json.orderId };
    }
    const retryAfter = headers.get("Retry-After");
    // Nothing done, and Retry-After: waiting helps. Without it a refusal is for good.
    const nothingDone = outcome === "not_sent" || outcome === "rejected";
    if (outcome === "unknown" || (nothingDone && retryAfter !== null)) {
      // Unknown: the gateway asks the broker once more. Not sent: waiting helps.
      await sleep(1000 * Number(retryAfter ?? 1));
      continue;
    }
    return { notPlaced: `${status} ${outcome}: ${JSON.stringify(json)}` };
  }
  if (outcome === "not_sent") {
    return { notPlaced: `not sent in ${TRIES} tries` };
  }
  return { nobodyKnows: `no answer for ${order.correlationId} after ${TRIES} tries` };
}

async function main(base = "http://127.0.0.1:8080/v2") {
  const { orderId, notPlaced, nobodyKnows } = await place(base, {
    transactionType: "BUY",
    exchangeSegment: "NSE_EQ",
    productType: "INTRADAY",
    orderType: "LIMIT",
    validity: "DAY",
    securityId: "11536",
    quantity: 5,
    price: 3310.5,
  });
  if (notPlaced) {
    say({ step: "not placed", why: notPlaced });
    return 1;
  }
  if (nobodyKnows) {
    say({ step: "look in the order book", why: nobodyKnows });
    return 3;
  }
  const { json } = await call("GET", `${base}/orders/${orderId}`);
  // The broker answers with an array of one.
  const found = Array.isArray(json) ? json[0] : json;
  say({ step: "done", orderId, orderStatus: found.orderStatus });
  return 0;
}

process.exitCode = await main(...process.argv.slice(2));
