// The console in a browser, as a person has it. Arguments: where the console is, a link that signs in, a folder for
// screenshots, and what an account is made of (JSON). Prints what it did; ends with 1 and words if anything is wrong.
import { open } from "./house.mjs";

const [modules, base, link, token, shots, account] = process.argv.slice(2);
const made = JSON.parse(account);
const of = `/console/accounts/${made.name}`;
const PAGES = ["/console", "/console/create", "/console/orders", "/console/plots", "/console/pools", "/console/machine",
  "/console/evidence", "/console/changes", "/console/help", "/console/sessions", "/docs", "/docs?call=accounts_create", "/console/first-run", "/console/halt-all",
  "/console/validate-all", of, `${of}/keys`, `${of}/registration`, `${of}/token`, `${of}/edit`, `${of}/progress`];
const house = await open({ modules, base, token, shots });
const { wrong, check, person, look, everyWay, signInByHand } = house;

async function signIn(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForURL(`${base}/console`);
  return page;
}

/** Every page, wide, narrow, zoomed, dark and in forced colours. */
async function everyPage(page) {
  for (const path of PAGES) {
    const reply = await page.goto(base + path);
    check(reply.status() === 200, `${path}: ${reply.status()}`);
    await everyWay(page, path.replaceAll("/", "_"));
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
  page.on("dialog", (dialog) => dialog.type() === "beforeunload" || dialog.accept());
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
  // A menu click does not lose it either.
  const asked = page.waitForEvent("dialog", { timeout: 20_000 });
  await page.getByRole("link", { name: "Orders", exact: true }).click();
  check((await asked).type() === "beforeunload", "what was typed was left without a question");
  await page.waitForURL(`${base}/console/orders`);
}

/** Without JavaScript everything can be done. */
async function withoutScripts() {
  const context = await person({ javaScriptEnabled: false });
  house.forgive("422 (Unprocessable");
  const page = await signInByHand(context);
  await page.goto(`${base}/console/accounts/${made.name}`);
  await page.getByRole("button", { name: "Halt", exact: true }).click();
  await page.getByText("Halted.").first().waitFor();
  await page.getByRole("button", { name: "Let it trade again" }).click();
  await page.getByText("may trade again").first().waitFor();
  await page.goto(`${base}/console/create`);
  for (const name of ["Show", "Copy"]) {
    const dead = await page.getByRole("button", { name, exact: true }).filter({ visible: true }).count();
    check(dead === 0, `without scripts ${dead} buttons "${name}" are shown, which do nothing`);
  }
  await page.getByLabel("Nickname").fill("kept");
  await page.getByLabel("Dhan client id").fill("12x");
  await page.getByRole("button", { name: "Save only" }).click();
  check((await page.getByLabel("Nickname").inputValue()) === "kept", "without scripts what was typed was lost");
  await page.screenshot({ path: `${shots}/without-scripts.png`, fullPage: true });
  await context.close();
}

/** The front page of whoever is not signed in. */
async function theDoor() {
  const page = await (await person()).newPage();
  await page.goto(`${base}/`);
  await everyWay(page, "sign-in");
}

await house.walk(async () => {
  const context = await person();
  const page = await signIn(context, link);
  check(!page.url().includes("code"), "the code stayed in the address bar");
  await create(page);
  await everyPage(page);
  await haltByKeyboard(page);
  await sevenTabs(context);
  await endsWhileTyping(await person());
  await withoutScripts();
  await theDoor();
});
