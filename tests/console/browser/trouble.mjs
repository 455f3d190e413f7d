// Logins that failed, as a person finds them: each is told, and its first way on is pressed. Arguments: the packages, where
// the console is, an admin token, a folder for screenshots, and the accounts (JSON): `name`, what its page `says`, the
// `way` that stands first, and for a way with a form the `field`, the `value` typed there, the `button` and what `then` is
// said. `wait: true` says that the first way is to wait, by a clock; then the way is the second.
import { open } from "./house.mjs";

const [modules, base, token, shots, accounts] = process.argv.slice(2);
const house = await open({ modules, base, token, shots });
const { check, person, everyWay, signInByHand } = house;

/** The ways on, in their order: what is pressed, and what waits. */
const ways = (page) => page.locator(".trouble > .row").first().locator(":scope > a, :scope > span, :scope > form > button");

/** A clock goes down while one looks at it. */
async function countsDown(page, name) {
  const clock = page.locator(".trouble [data-until]").first();
  const before = await clock.textContent();
  const goes = page.waitForFunction((old) => document.querySelector(".trouble [data-until]")?.textContent !== old, before, { timeout: 70_000 });
  await goes.catch(() => check(false, `${name}: the clock stands still at ${before}`));
}

async function follow(page, account) {
  await page.getByLabel(account.field, { exact: true }).fill(account.value);
  await page.getByRole("button", { name: account.button, exact: true }).click();
  await page.getByText(account.then).first().waitFor({ timeout: 30_000 });
  check(!(await page.content()).includes(account.value), `${account.name}: what was typed in secret stands in the page`);
}

async function trouble(page, account) {
  await page.goto(`${base}/console/accounts/${account.name}`);
  await page.locator(".trouble").getByText(account.says).first().waitFor({ timeout: 30_000 });
  await everyWay(page, `trouble-${account.name}`);
  const first = (await ways(page).first().textContent()).trim();
  check(first.startsWith(account.wait ? "Wait" : account.way), `${account.name}: "${first}" stands first`);
  if (account.wait) await countsDown(page, account.name);
  await page.locator(".trouble").getByRole("link", { name: account.way, exact: true }).first().click();
  await page.getByLabel(account.field, { exact: true }).waitFor();
  await everyWay(page, `trouble-${account.name}-way`);
  await follow(page, account);
}

/** The logins by Dhan's page are used up: told where one was asked for, with the ways on beside it. */
async function consents(page, account) {
  const ask = async () => {
    await page.goto(`${base}/console/accounts/${account.name}`);
    const button = page.getByRole("button", { name: "Log in at Dhan's page" });
    if (!(await button.isVisible())) await page.locator("#login-part summary").last().click();
    await button.click();
  };
  await ask();
  await page.getByText("Open Dhan's login page").waitFor();
  await everyWay(page, `trouble-${account.name}-page`);
  await ask();
  await page.getByText(account.says).first().waitFor();
  await everyWay(page, `trouble-${account.name}`);
  await page.getByRole("link", { name: account.way, exact: true }).first().click();
  await follow(page, account);
}

await house.walk(async () => {
  const page = await signInByHand(await person());
  for (const account of JSON.parse(accounts)) {
    await (account.consents ? consents : trouble)(page, account);
  }
});
