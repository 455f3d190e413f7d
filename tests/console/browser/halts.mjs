// Halting one account and all, and a new key whose line is pasted into a shell. Arguments: the packages, where the console
// is, an admin token, a folder for screenshots, and the account's name.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { open } from "./house.mjs";

const [modules, base, token, shots, account] = process.argv.slice(2);
const house = await open({ modules, base, token, shots });
const { check, person, everyWay, signInByHand } = house;

/** As a shell that has nothing but a path runs it. */
const paste = (line) => promisify(execFile)("bash", ["-c", line], { env: { PATH: process.env.PATH }, timeout: 30_000 });

/** What one person does, another who looks at the list sees without a hand. */
async function haltOne(page, other) {
  await other.goto(`${base}/console?problem=halted`);
  check(!(await other.locator(`#account-${account}`).isVisible()), "halted before anybody halted");
  await page.goto(`${base}/console`);
  await page.getByRole("button", { name: `Halt ${account}` }).click();
  await page.getByText("Halted.").first().waitFor();
  await other.locator(`#account-${account}`).waitFor({ timeout: 20_000 });
  await everyWay(page, "halted");
  await page.goto(`${base}/console?problem=halted`);
  check(await page.locator(`#account-${account}`).isVisible(), "who is halted is not under Halted");
  await page.getByRole("link", { name: `Let it trade again…: ${account}` }).click();
  await page.getByRole("button", { name: "Let it trade again" }).click();
  await page.getByText("may trade again").first().waitFor();
  await other.locator(`#account-${account}`).waitFor({ state: "detached", timeout: 20_000 });
}

async function haltAll(page, other) {
  await other.goto(`${base}/console`);
  await page.goto(`${base}/console`);
  await page.getByRole("link", { name: "Halt All…" }).click();
  await page.getByLabel("Reason").fill("the broker's storm");
  await page.getByRole("button", { name: "Halt All" }).click();
  await page.getByText("All accounts are halted since").first().waitFor();
  check(await page.getByText("the broker's storm").first().isVisible(), "the reason is not told");
  await other.getByText("All accounts are halted since").first().waitFor({ timeout: 20_000 });
  await everyWay(page, "all-halted");
  await page.getByRole("link", { name: "Let all trade again…" }).click();
  await everyWay(page, "let-all-trade");
  await page.getByRole("button", { name: "Let all trade again" }).click();
  await page.getByText("Accounts that were halted with all may trade again.").first().waitFor();
  await other.getByText("All accounts are halted since").first().waitFor({ state: "detached", timeout: 20_000 });
}

async function key(page) {
  await page.goto(`${base}/console/accounts/${account}/keys`);
  await page.getByLabel("Label").fill("the engine in the corner");
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByText("It is shown here and never again").first().waitFor();
  const line = page.locator("details[open] pre code").first();
  const text = await line.textContent();
  check(text.includes("sgk_"), `the line has no key: ${text}`);
  const { stdout } = await paste(text);
  check(stdout.trim().startsWith("["), `${text} printed ${stdout}`);
  // Copied by the button, it is the same line.
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: base });
  await page.locator("details[open] button[data-copy]").first().click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  check((await page.evaluate(() => navigator.clipboard.readText())) === text, "what is copied is not what is shown");
  for (const closed of await page.locator("details:not([open]) > summary").all()) await closed.click();
  await everyWay(page, "key-made");
  await page.reload();
  check(!(await page.content()).includes(text.match(/sgk_[a-z0-9]+/)[0]), "the key is shown again");
  await page.getByRole("row", { name: "the engine in the corner" }).getByRole("button", { name: "Delete" }).first().click();
  await page.getByText("Deleted.").first().waitFor();
  const refused = await paste(text).then(() => false, (err) => err.stdout.includes("407") || err.stderr.includes("407"));
  check(refused, "a deleted key still works");
}

await house.walk(async () => {
  const page = await signInByHand(await person());
  page.on("dialog", (dialog) => dialog.type() === "beforeunload" || dialog.accept());
  const other = await signInByHand(await person());
  await haltOne(page, other);
  await haltAll(page, other);
  await key(page);
});
