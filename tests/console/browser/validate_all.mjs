// Validate All over many accounts, watched from two tabs. Arguments: the packages, where the console is, an admin token, a
// folder for screenshots, how many accounts there are, and how many of them are not ready. Prints how long it took.
import { open } from "./house.mjs";

const [modules, base, token, shots, total, failing] = process.argv.slice(2);
const house = await open({ modules, base, token, shots });
const { check, person, everyWay, signInByHand } = house;
const path = `${base}/console/validate-all`;
const bar = (page) => page.locator("progress");
/** How long the bar may stand still: how fast it is depends on what else the machine does. */
const STILL = 60_000;

/** Wait for a text for as long as the bar moves. */
async function whileItMoves(page, text) {
  let [value, moved] = [null, Date.now()];
  while (!(await page.getByText(text).first().isVisible())) {
    const now = await page.evaluate(() => document.querySelector("progress")?.value ?? null);
    if (now !== value) [value, moved] = [now, Date.now()];
    if (Date.now() - moved > STILL) throw new Error(`the bar stood still at ${value}, and "${text}" did not come`);
    await page.waitForTimeout(250);
  }
}

/** The numbers that the bar showed, as they changed, and the longest time in which the page could not have answered. */
const watch = () => {
  const seen = new Set();
  let [longest, last] = [0, performance.now()];
  setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    const value = document.querySelector("progress")?.value;
    if (value !== undefined) seen.add(value);
    globalThis.watched = { seen: [...seen], longest };
  }, 20);
};

await house.walk(async () => {
  const context = await person();
  const one = await signInByHand(context);
  await one.goto(path);
  await one.getByText(`${Number(total).toLocaleString("en")} accounts.`).waitFor();
  const began = Date.now();
  await one.getByRole("button", { name: "Validate All", exact: true }).click();
  await bar(one).waitFor();
  await one.evaluate(watch);
  const two = await context.newPage();
  await two.goto(path);
  await two.evaluate(watch);
  const three = await context.newPage();
  await three.goto(`${base}/console`);
  check(await bar(one).isVisible(), "the list came only after the job, or the job was over before anybody could watch it");
  await one.screenshot({ path: `${shots}/validate-all-under-way.png`, fullPage: true });

  const ready = `${(total - failing).toLocaleString("en")} ready`;
  for (const page of [one, two]) await whileItMoves(page, ready);
  const lasted = Date.now() - began;
  for (const [name, page] of [["the first tab", one], ["the second tab", two]]) {
    const { seen, longest } = await page.evaluate(() => globalThis.watched);
    const grew = seen.length > 2 && seen.every((value, at) => at === 0 || value > seen[at - 1]);
    check(grew, `in ${name} the bar showed ${JSON.stringify(seen)}`);
    check(longest < lasted / 4, `${name} did not answer for ${Math.round(longest)} ms of ${lasted}`);
    console.log(`${name}: the bar moved ${seen.length} times, the page was busy for ${Math.round(longest)} ms at most`);
    check((await bar(page).count()) === 0, `${name} still shows a bar`);
  }
  console.log(`${total} accounts in ${lasted} ms`);
  await everyWay(one, "validate-all-ended");

  // Only what fails: here by cause and one by one, and as a filter of the list.
  const rows = one.locator("h2", { hasText: "Those that are not ready" }).locator("xpath=following-sibling::table[1]/tbody/tr");
  check((await rows.count()) === Math.min(50, Number(failing)), `${await rows.count()} rows are not ready`);
  await three.goto(`${base}/console`);
  await three.getByRole("link", { name: `Validation failed ${failing}` }).click();
  await three.waitForURL(/problem=validation_failed/);
  const names = await three.locator("tr[id^=account-]").evaluateAll((found) => found.map((row) => row.id));
  check(names.length === Math.min(50, Number(failing)) && names.every((name) => name.startsWith("account-f")), `the filter shows ${names}`);
  await everyWay(three, "list-of-failures");
});
