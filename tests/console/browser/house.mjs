// What every walk through the console has in common: a browser whose every complaint is kept, and eyes for barriers.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

/** Wide, a phone, and 1280 px at 400 %. */
export const SIZES = [[1200, 800], [360, 740], [320, 256]];

/** A browser for the console at `base`, whose screenshots go to the folder `shots`. `modules` has the packages. */
export async function open({ modules, base, token, shots }) {
  const require = createRequire(`${modules}/`);
  const { chromium } = require("playwright-core");
  const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const wrong = [];
  const check = (good, what) => {
    if (!good) wrong.push(what);
  };
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  // Without scripts a form that is refused is a page of its own, whose status the browser notes.
  let forgiven = null;

  function watch(page) {
    page.on("console", (message) => {
      const isForgiven = forgiven && message.text().includes(forgiven);
      if (message.type() === "error" && !isForgiven) wrong.push(`${page.url()}: ${message.text()}`);
    });
    // Leaving what was typed is asked about; whoever walks here means it.
    page.on("dialog", (dialog) => {
      if (dialog.type() === "beforeunload") dialog.accept();
      else if (page.listenerCount("dialog") === 1) dialog.dismiss();
    });
    page.on("pageerror", (err) => wrong.push(`${page.url()}: ${err.message}`));
    page.on("request", (request) => check(request.url().startsWith(base), `${page.url()} asks ${request.url()}`));
    page.on("response", async (reply) => {
      const type = reply.headers()["content-type"] ?? "";
      if (!type.startsWith("text/html") || reply.status() === 303) return;
      const size = (await reply.body().catch(() => "")).length;
      check(size < 50_000, `${reply.url()}: ${size} bytes`);
    });
  }

  /** A person's browser. */
  async function person(options = {}) {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}:${event.columnNumber} ${event.sample}`));
    });
    context.on("page", watch);
    return context;
  }

  /** Nothing goes beyond the edge, and no barrier is in it. */
  async function look(page, what) {
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(over <= 0, `${what}: ${over} px beyond the edge`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    for (const found of violations) {
      wrong.push(`${what}: ${found.id}, ${found.help}: ${found.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    }
  }

  /** The page as it is, wide, narrow, zoomed, dark, in forced colours and on paper, with screenshots. */
  async function everyWay(page, name) {
    const shot = (kind) => page.screenshot({ path: `${shots}/${name}-${kind}.png`, fullPage: true });
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await look(page, `${name} at ${width}`);
      await shot(width);
    }
    await page.setViewportSize({ width: 1200, height: 800 });
    for (const [kind, media] of [["dark", { colorScheme: "dark" }], ["forced", { forcedColors: "active" }]]) {
      await page.emulateMedia(media);
      await look(page, `${name}, ${kind}`);
      await shot(kind);
      await page.emulateMedia({ colorScheme: "light", forcedColors: "none" });
    }
    await page.emulateMedia({ media: "print" });
    await shot("print");
    check(!(await page.getByRole("button", { name: "Sign out", exact: true }).isVisible()), `${name}: a button is printed`);
    await page.emulateMedia({ media: "screen" });
  }

  async function signInByHand(context) {
    const page = await context.newPage();
    await page.goto(`${base}/`);
    await page.getByLabel("Admin token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`${base}/console`);
    return page;
  }

  /** Walk, then say what was wrong; ends with 1 if anything was. */
  async function walk(steps) {
    try {
      await steps();
    } catch (err) {
      wrong.push(err.stack);
    } finally {
      await browser.close();
    }
    console.log(wrong.length ? wrong.join("\n") : "nothing is wrong");
    process.exitCode = wrong.length ? 1 : 0;
  }

  return { browser, wrong, check, person, look, everyWay, signInByHand, walk, forgive: (text) => (forgiven = text) };
}
