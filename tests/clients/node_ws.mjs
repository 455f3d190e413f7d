// The market feed with ws, through a proxy by `https-proxy-agent`, with a placeholder for a token. One JSON line a step.
import { HttpsProxyAgent } from "https-proxy-agent";
import WebSocket from "ws";

const say = (step, what) => console.log(JSON.stringify({ step, ...what }));
const agent = new HttpsProxyAgent(process.env.HTTPS_PROXY);
const feed = new WebSocket("wss://api-feed.dhan.co?version=2&token=placeholder&clientId=0&authType=2", { agent });
const instrument = { ExchangeSegment: "NSE_EQ", SecurityId: "11536" };

feed.on("open", () => {
  feed.send(JSON.stringify({ RequestCode: 15, InstrumentCount: 1, InstrumentList: [instrument] }));
});
feed.once("message", (packet) => {
  say("ticker", { code: packet.readUInt8(0), length: packet.readUInt16LE(1), securityId: packet.readUInt32LE(4) });
  feed.close(4000, "enough");
});
feed.on("close", (code) => say("closed", { code }));
feed.on("error", (error) => {
  say("error", { message: error.message });
  process.exitCode = 1;
});
