// The order book with Node's own fetch: one JSON line, status 1 if it is refused.
//
//     node node_fetch.mjs [https://api.dhan.co/v2]

import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());

const reply = await fetch(`${process.argv[2] ?? "https://api.dhan.co/v2"}/orders`);
console.log(JSON.stringify({ step: "list", status: reply.status, body: await reply.json() }));
process.exitCode = reply.ok ? 0 : 1;
