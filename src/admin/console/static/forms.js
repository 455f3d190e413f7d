// Forms are sent from within the page: what was typed, secrets too, stays where it is when something is wrong.
import { announce, ask, each, put } from "./swap.js";

// Forms in which something was typed that was not sent. Leaving the page asks first.
const typed = new WeakSet();
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (form?.method === "post") typed.add(form);
});
addEventListener("beforeunload", (event) => {
  if ([...document.forms].some((form) => typed.has(form))) event.preventDefault();
});
// A page that a form led to is part of this one: Back leads out of it.
let shown = location.pathname + location.search;
addEventListener("popstate", () => {
  if (location.pathname + location.search !== shown) location.reload();
});

function signedOut(form) {
  let note = form.querySelector("[data-signed-out]");
  if (!note) {
    note = document.createElement("p");
    note.className = "flash bad";
    note.dataset.signedOut = "";
    note.setAttribute("role", "alert");
    const link = document.createElement("a");
    link.href = "/console/sign-in";
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = "Sign in in a new tab";
    note.append("You are signed out; nothing was sent, and what you typed is still here. ", link, ", then send it again.");
    form.prepend(note);
  }
  note.scrollIntoView({ block: "nearest" });
}

/** A new sign-in has new form tokens: take one from a fresh page. */
async function refreshToken(form) {
  const { status, page } = await ask(location.href, { refresh: true });
  const fresh = page?.querySelector('main input[name="csrf"], header input[name="csrf"]');
  if (status < 400 && fresh) for (const field of document.querySelectorAll('input[name="csrf"]')) field.value = fresh.value;
  return status < 400 && Boolean(fresh);
}

async function send(form, button) {
  const fields = new URLSearchParams(new FormData(form));
  return ask(button?.getAttribute("formaction") ?? form.action, { body: fields.toString() });
}

async function submit(form, button) {
  form.setAttribute("aria-busy", "true");
  if (button) button.disabled = true;
  try {
    let reply = await send(form, button);
    if (reply.status === 403 && (await refreshToken(form))) reply = await send(form, button);
    if (reply.status === 401) return signedOut(form);
    const main = reply.page?.getElementById("main");
    if (!main) throw new Error("no page");
    if (reply.status < 400) {
      if (reply.url !== location.href) history.pushState(null, "", reply.url);
      shown = location.pathname + location.search;
      document.title = reply.page.title;
      const [nav, fresh] = [document, reply.page].map((page) => page.querySelector("header nav"));
      if (nav && fresh) put(nav, fresh);
    }
    if (reply.status >= 400 || main.querySelector("form[data-draft]")) keep(form, main);
    const fresh = put(document.getElementById("main"), main);
    document.dispatchEvent(new Event("sixgate:page"));
    const focus = fresh.querySelector('#errors, [data-focus], .flash[role="alert"]') ?? fresh;
    focus.focus({ preventScroll: false });
    const said = fresh.querySelector(".flash");
    if (said) announce(said.textContent.trim());
  } catch {
    announce("The gateway does not answer; nothing was changed here. Send it again.");
    const note = form.querySelector("[data-no-answer]") ?? document.createElement("p");
    note.className = "flash bad";
    note.dataset.noAnswer = "";
    note.setAttribute("role", "alert");
    note.textContent = "The gateway does not answer. What you typed is still here: look whether it was done, or send it again.";
    form.prepend(note);
  } finally {
    form.removeAttribute("aria-busy");
    if (button?.isConnected) button.disabled = false;
  }
}

/** The page with errors comes without what was typed in secret: put it back from here. */
function keep(form, main) {
  const twin = [...main.querySelectorAll("form")].find((other) => other.getAttribute("action") === form.getAttribute("action"));
  if (!twin) return;
  typed.add(twin);
  for (const field of form.querySelectorAll('input[type="password"], input[data-keep]')) {
    const other = twin.elements.namedItem(field.name);
    if (other instanceof HTMLInputElement) other.value = field.value;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.hasAttribute("data-plain")) return typed.delete(form);
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) return event.preventDefault();
  event.preventDefault();
  if (event.submitter?.name) {
    const chosen = document.createElement("input");
    Object.assign(chosen, { type: "hidden", name: event.submitter.name, value: event.submitter.value });
    form.append(chosen);
    submit(form, event.submitter).finally(() => chosen.remove());
  } else submit(form, event.submitter);
});

// Fields that belong to one choice are shown with it; what is typed in them stays.
each("[data-shown-with]", (part) => {
  const [name, value] = part.dataset.shownWith.split("=");
  const form = part.closest("form");
  const show = () => {
    part.hidden = form.elements.namedItem(name)?.value !== value;
  };
  form.addEventListener("change", show);
  show();
});
each("[data-open-with]", (part) => {
  const [name, value] = part.dataset.openWith.split("=");
  const form = part.closest("form");
  form.addEventListener("change", (event) => {
    if (event.target.name === name && event.target.value === value) part.open = true;
  });
});

// A link from `sixgate console` has its code where servers do not see it. It is used at once and leaves the address bar;
// also where it is opened in a tab that shows this page already.
function signInByLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  const signIn = document.getElementById("sign-in");
  if (!code || !signIn) return;
  history.replaceState(null, "", location.pathname);
  signIn.elements.namedItem("token").value = code;
  signIn.submit();
}
signInByLink();
addEventListener("hashchange", signInByLink);
