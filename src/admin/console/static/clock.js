// Remaining times count down. Only 60, 10 and 1 minutes are announced.
import { announce, each } from "./swap.js";

const watched = new Set();

function span(seconds) {
  const minutes = Math.floor(seconds / 60) % 60;
  const hours = Math.floor(seconds / 3600);
  if (hours >= 24) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${seconds} s`;
}

function show(element) {
  const left = Math.max(0, Math.round((Date.parse(element.dataset.until) - Date.now()) / 1000));
  const text = span(left);
  if (element.textContent !== text) element.textContent = text;
  const minutes = Math.ceil(left / 60);
  if (minutes !== element.minutes && element.minutes !== undefined && [60, 10, 1].includes(minutes)) {
    announce(`${text} left: ${element.dataset.what ?? "this"}`);
  }
  element.minutes = minutes;
}

each("[data-until]", (element) => {
  watched.add(element);
  show(element);
});
setInterval(() => {
  for (const element of watched) element.isConnected ? show(element) : watched.delete(element);
}, 1000);
