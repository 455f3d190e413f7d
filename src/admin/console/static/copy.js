// Buttons that copy what stands beside them. Without scripts they are not shown.
import { announce, each } from "./swap.js";

each("button[data-copy]", (button) => {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      button.textContent = "Not copied: select the text";
    }
  });
});
