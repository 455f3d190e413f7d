// One stream of events for all tabs of a browser: a tab holds a lock and hands on what it hears. It is closed while
// no tab is seen, because a browser opens six connections to a host and no more.
import { ask, put } from "./swap.js";

const STREAM = "/console/events";
const parts = () => document.querySelectorAll("[data-live]");
const channel = "BroadcastChannel" in window ? new BroadcastChannel("sixgate") : null;
const note = document.getElementById("connection");
let due = false;
let waiting = null;
// Which page within this one is shown: an answer to an earlier one is of no use.
let turn = 0;

/** Fetch anew what is on screen, four times a second at most, and never under a hand that is at work there. */
async function refresh() {
  if (waiting || document.hidden) {
    due = true;
    return;
  }
  waiting = setTimeout(() => {
    waiting = null;
    if (due) refresh();
  }, 250);
  due = false;
  const before = turn;
  const { status, page } = await ask(location.href, { refresh: true });
  if (status === 401) return signedOut();
  if (before !== turn) return refresh();
  // What stands beside them on every page comes along.
  for (const part of document.querySelectorAll("[data-live], [data-along]")) {
    const fresh = part.id && page?.getElementById(part.id);
    if (!fresh || fresh.outerHTML === part.outerHTML) continue;
    // What somebody unfolded stays so while nothing else is new.
    if (fresh.dataset.state && fresh.dataset.state === part.dataset.state) continue;
    const busy = part.contains(document.activeElement) && document.activeElement !== part;
    if (busy) held(part, fresh);
    else put(part, fresh);
  }
}

/** Updates wait while somebody is in the part; a button brings them. */
function held(part, fresh) {
  let button = document.getElementById(`held-${part.id}`);
  if (!button) {
    button = document.createElement("button");
    button.id = `held-${part.id}`;
    button.type = "button";
    button.className = "second";
    part.before(button);
  }
  button.textContent = "Show what is new";
  button.onclick = () => {
    put(part, fresh);
    button.remove();
  };
}

function signedOut() {
  if (!note) return;
  note.hidden = false;
  note.textContent = "You are signed out. What is shown is as it was; reload the page to sign in again.";
}

/** A part says which kinds of events change it, and whose; `-` is no account or all. */
function heard(kind, data) {
  for (const part of parts()) {
    const { live, account } = part.dataset;
    const matters = live.split(" ").includes(kind) && (!account || data === "-" || account === data);
    if (matters || kind === "lost") return refresh();
  }
}

function follow(stopped) {
  const stream = new EventSource(STREAM);
  for (const kind of ["token", "leg", "order", "validation", "change", "lost"]) {
    stream.addEventListener(kind, (event) => {
      channel?.postMessage([kind, event.data]);
      heard(kind, event.data);
    });
  }
  stream.addEventListener("open", () => {
    if (note) note.hidden = true;
    refresh();
  });
  stream.addEventListener("error", () => {
    if (note) note.hidden = false;
  });
  stream.addEventListener("signed-out", () => {
    stream.close();
    signedOut();
  });
  stopped.then(() => stream.close());
}

let asked = false;

/** Lead the browser's tabs, or wait in line for it. */
async function whileSeen() {
  if (asked || document.hidden || !parts().length) return;
  const lead = () => {
    if (document.hidden) return null;
    const stopped = new Promise((resolve) => {
      const end = () => {
        if (!document.hidden) return;
        document.removeEventListener("visibilitychange", end);
        resolve();
      };
      document.addEventListener("visibilitychange", end);
    });
    follow(stopped);
    return stopped;
  };
  asked = true;
  await (navigator.locks ? navigator.locks.request("sixgate-stream", lead) : lead());
  asked = false;
}

channel?.addEventListener("message", (event) => heard(...event.data));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  if (due || parts().length) refresh();
  whileSeen();
});
// A form led to another page within this one; something may have happened since that was made.
document.addEventListener("sixgate:page", () => {
  turn += 1;
  if (parts().length) refresh();
  whileSeen();
});
whileSeen();
