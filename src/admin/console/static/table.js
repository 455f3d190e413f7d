// Keys: "/" goes to the search, "g a" to accounts, "?" shows them all. Off by the switch in Help.
let before = "";

const place = document.getElementById("key-switch");
if (place) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  label.className = "choice";
  Object.assign(box, { type: "checkbox", checked: localStorage.getItem("sixgate-keys") !== "off" });
  box.addEventListener("change", () => localStorage.setItem("sixgate-keys", box.checked ? "on" : "off"));
  label.append(box, "Use these keys");
  place.replaceChildren(label);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem("sixgate-keys") === "off") return;
  const key = event.key;
  if (key === "/") {
    const search = document.querySelector('input[type="search"]');
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (before === "g") {
    document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`)?.click();
  } else if (key === "?") {
    location.assign("/console/help#keys");
  }
  before = key;
});
