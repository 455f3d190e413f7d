// Keys: "/" goes to the search, "g a" to accounts, "?" shows them all. Off by the switch in Help.
let before = "";

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
