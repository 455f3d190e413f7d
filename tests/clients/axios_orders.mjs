// One order with axios: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.
//
//     node axios_orders.mjs [axios | axios-0] [https://api.dhan.co/v2]
//
// `axios-0` is version 0.27 (package.json has both).

import { randomUUID } from "node:crypto";

const { default: axios } = await import(process.argv[2] ?? "axios");

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
const client = axios.create({ baseURL: process.argv[3] ?? "https://api.dhan.co/v2", validateStatus: () => true });

async function step(name, asked) {
  const { status, data } = await asked;
  console.log(JSON.stringify({ step: name, status, body: data }));
  if (status !== 200) process.exit(1);
  return data;
}

const correlationId = `axios-${randomUUID().slice(0, 13)}`;
const placed = await step("place", client.post("/orders", { ...order, correlationId }));
await step("read", client.get(`/orders/external/${correlationId}`));
await step("cancel", client.delete(`/orders/${placed.orderId}`));
