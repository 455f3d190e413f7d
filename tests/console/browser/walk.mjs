// The console in a browser, as a person has it. Arguments: where the console is, a link that signs in, a folder for
// screenshots, and what an account is made of (JSON). Prints what it did; ends with 1 and words if anything is wrong.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, base, link, token, shots, account] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const made = JSON.parse(account);
const PAGES = ["/console", "/console/create", "/console/orders", "/console/plots", "/console/pools", "/console/machine",
  "/console/evidence", "/console/changes", "/console/help", "/console/sessions", "/docs", "/docs?call=accounts_create", "/console/first-run", "/console/halt-all",
  "/console/validate-all"];
const wrong = [];
const check = (good, what) => {
  if (!good) wrong.push(what);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

/** A person's browser whose every complaint is kept. */
async function person(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  context.on("page", watch);
  return context;
}

// Without scripts a form that is refused is a page of its own, whose status the browser notes.
let forgiven = null;

function watch(page) {
  page.on("console", (message) => {
    if (message.type() === "error" && !(forgiven && message.text().includes(forgiven))) wrong.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (err) => wrong.push(`${page.url()}: ${err.message}`));
  page.on("request", (request) => check(request.url().startsWith(base), `${page.url()} asks ${request.url()}`));
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

async function signIn(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForURL(`${base}/console`);
  return page;
}

async function signInByHand(context) {
  const page = await context.newPage();
  await page.goto(`${base}/`);
  await page.getByLabel("Admin token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${base}/console`);
  return page;
}

/** Every page, wide, narrow, zoomed, dark and in forced colours. */
async function everyPage(page) {
  for (const path of [...PAGES, `/console/accounts/${made.name}`]) {
    const name = path.replaceAll("/", "_");
    const reply = await page.goto(base + path);
    check(reply.status() === 200, `${path}: ${reply.status()}`);
    const size = (await reply.body()).length;
    check(size < 50_000, `${path}: ${size} bytes`);
    for (const [width, height] of [[1200, 800], [360, 740], [320, 256]]) {
      await page.setViewportSize({ width, height });
      await look(page, `${path} at ${width}`);
      await page.screenshot({ path: `${shots}/${name}-${width}.png`, fullPage: true });
    }
    await page.setViewportSize({ width: 1200, height: 800 });
    for (const media of [{ colorScheme: "dark" }, { forcedColors: "active" }]) {
      await page.emulateMedia(media);
      await look(page, `${path} ${JSON.stringify(media)}`);
    }
    await page.emulateMedia({ colorScheme: "light", forcedColors: "none" });
  }
}

/** Create and Validate and Save, by the labels that people read. */
async function create(page) {
  await page.goto(`${base}/console`);
  await page.getByRole("link", { name: "Create account" }).click();
  await page.getByLabel("Nickname").fill(made.nickname);
  await page.getByLabel("Dhan client id").fill(made.client_id);
  await page.getByLabel("Bring my own").check();
  await page.getByLabel("Primary address").fill(made.primary);
  await page.getByLabel("Secondary address").fill(made.secondary);
  await page.getByLabel("PIN").fill("12");
  await page.getByLabel("TOTP key").fill(made.totp_secret);
  await page.getByRole("button", { name: "Validate and Save" }).click();
  await page.getByRole("alert").first().waitFor();
  check((await page.getByLabel("TOTP key").inputValue()) === made.totp_secret, "a secret that was typed was lost to an error");
  check((await page.getByLabel("Nickname").inputValue()) === made.nickname, "a nickname that was typed was lost to an error");
  await page.screenshot({ path: `${shots}/create-error.png`, fullPage: true });
  await look(page, "create with an error");
  await page.getByLabel("PIN").fill(made.pin);
  await page.getByRole("button", { name: "Validate and Save" }).click();
  await page.getByText("This account can trade.").waitFor({ timeout: 120_000 });
  await page.screenshot({ path: `${shots}/can-trade.png`, fullPage: true });
  await look(page, "an account that can trade");
}

/** Halt and let trade again, with keys alone. */
async function haltByKeyboard(page) {
  page.on("dialog", (dialog) => dialog.accept());
  for (const [button, then] of [["Halt", "Halted."], ["Let it trade again", "may trade again"]]) {
    await page.goto(`${base}/console/accounts/${made.name}`);
    await page.getByRole("button", { name: button, exact: true }).waitFor();
    for (let presses = 0; presses < 80; presses += 1) {
      await page.keyboard.press("Tab");
      const text = await page.evaluate(() => document.activeElement?.textContent?.trim());
      if (text === button) break;
    }
    await page.keyboard.press("Enter");
    await page.getByText(then).first().waitFor({ timeout: 30_000 }).catch(() => wrong.push(`"${button}" by keyboard did nothing`));
  }
}

/** Seven tabs stay alive, with one stream between them. */
async function sevenTabs(context) {
  const open = new Set();
  context.on("request", (request) => request.url().endsWith("/console/events") && open.add(request));
  context.on("requestfailed", (request) => open.delete(request));
  const tabs = [];
  for (let count = 0; count < 7; count += 1) {
    const tab = await context.newPage();
    await tab.goto(`${base}/console`, { timeout: 20_000 });
    tabs.push(tab);
  }
  await tabs[6].goto(`${base}/console/help`, { timeout: 20_000 });
  check(open.size <= 1, `${open.size} streams are open in one browser`);
  for (const tab of tabs) await tab.close();
}

/** A session that ends while somebody types loses nothing. */
async function endsWhileTyping(context) {
  const page = await signInByHand(context);
  await page.goto(`${base}/console/create`);
  await page.getByLabel("Nickname").fill("typed before");
  await page.getByLabel("Dhan client id").fill("1000000009");
  await page.getByLabel("TOTP key").fill(made.totp_secret);
  const cookies = await context.cookies();
  await context.clearCookies();
  await page.getByRole("button", { name: "Save only" }).click();
  await page.getByText("You are signed out").first().waitFor();
  check((await page.getByLabel("Nickname").inputValue()) === "typed before", "what was typed went with the session");
  check((await page.getByLabel("TOTP key").inputValue()) === made.totp_secret, "a secret that was typed went with the session");
  await context.addCookies(cookies);
}

/** Without JavaScript everything can be done. */
async function withoutScripts() {
  const context = await person({ javaScriptEnabled: false });
  forgiven = "422 (Unprocessable";
  const page = await signInByHand(context);
  await page.goto(`${base}/console/accounts/${made.name}`);
  await page.getByRole("button", { name: "Halt", exact: true }).click();
  await page.getByText("Halted.").first().waitFor();
  await page.getByRole("button", { name: "Let it trade again" }).click();
  await page.getByText("may trade again").first().waitFor();
  await page.goto(`${base}/console/create`);
  await page.getByLabel("Nickname").fill("kept");
  await page.getByLabel("Dhan client id").fill("12x");
  await page.getByRole("button", { name: "Save only" }).click();
  check((await page.getByLabel("Nickname").inputValue()) === "kept", "without scripts what was typed was lost");
  await page.screenshot({ path: `${shots}/without-scripts.png`, fullPage: true });
  await context.close();
}

try {
  const context = await person();
  const page = await signIn(context, link);
  check(!page.url().includes("code"), "the code stayed in the address bar");
  await create(page);
  await everyPage(page);
  await haltByKeyboard(page);
  await sevenTabs(context);
  await endsWhileTyping(await person());
  await withoutScripts();
} catch (err) {
  wrong.push(err.stack);
} finally {
  await browser.close();
}
console.log(wrong.length ? wrong.join("\n") : "nothing is wrong");
process.exitCode = wrong.length ? 1 : 0;
