// What is typed is looked at before it is sent, shown on request, and a name follows the nickname.
import { announce, ask, each, put } from "./swap.js";

// A press of a button ends the typing, and what is then told moves the button away from under it: it has to wait.
let pressed = false;
for (const kind of ["pointerdown", "pointerup", "pointercancel"]) {
  document.addEventListener(kind, () => (pressed = kind === "pointerdown"), true);
}
const released = async () => {
  while (pressed) await new Promise((done) => setTimeout(done, 50));
};

// A button that asks the gateway about some fields puts the answer under them. Without scripts it opens a tab.
each("button[data-look]", (button) => {
  const names = button.dataset.when.split(" ");
  const field = (name) => button.form.elements.namedItem(name);
  const look = async () => {
    const fields = new URLSearchParams({ csrf: field("csrf").value });
    for (const name of names) fields.set(name, field(name)?.value ?? "");
    const old = document.getElementById(button.dataset.look);
    const reply = await ask(button.formAction, { body: fields.toString() }).catch(() => null);
    await released();
    const fresh = reply?.page?.getElementById(button.dataset.look);
    if (fresh && old) announce(put(old, fresh).textContent.trim());
    else announce("The gateway does not answer; look again.");
  };
  button.addEventListener("click", (event) => {
    event.preventDefault();
    look();
  });
  for (const name of names) {
    field(name)?.addEventListener("change", (event) => {
      if (event.target.value.trim()) look();
    });
  }
});

// Is it the code that the authenticator shows? A key that is not right is typed again before Dhan judges it.
each("[data-answer]", (button) => {
  button.hidden = false;
  button.addEventListener("click", () => {
    const field = document.getElementById(button.dataset.of);
    const place = button.closest("[id]");
    const good = button.dataset.answer === "yes";
    place.textContent = good ? "✔ The key is right." : "";
    announce(good ? "The key is right." : "Type the key again.");
    if (good) return document.querySelector('button[value="validate"]:not(.unseen)')?.focus();
    field.value = "";
    field.focus();
  });
});

each("button[data-show]", (button) => {
  button.hidden = false;
  button.addEventListener("click", () => {
    const field = document.getElementById(button.dataset.show);
    const shown = field.type === "text";
    field.type = shown ? "password" : "text";
    button.textContent = shown ? "Show" : "Hide";
    button.setAttribute("aria-pressed", String(!shown));
  });
});

/** As the gateway makes a name of a nickname. */
const plain = (nickname) => nickname.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 56);

each("input#nickname", (nickname) => {
  const name = nickname.form.elements.namedItem("name");
  if (!name || name.type === "hidden") return;
  let proposed = plain(nickname.value);
  nickname.addEventListener("input", () => {
    if (name.value && name.value !== proposed) return;
    proposed = plain(nickname.value);
    name.value = proposed;
  });
});
