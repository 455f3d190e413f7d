// The one way by which HTML comes into a page: the browser parses the reply itself, so no text is ever made into markup.

/** Ask for a page, and hand over its document. `body` makes it a POST. A refresh keeps no session open. */
export function ask(url, { body = null, refresh = false } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(body === null ? "GET" : "POST", url);
    request.responseType = "document";
    request.timeout = 60000;
    // A refusal is no news for the browser's console: its status comes in a header of its own.
    request.setRequestHeader("Sixgate-Fetch", "1");
    if (refresh) request.setRequestHeader("Sixgate-Refresh", "1");
    const status = () => Number(request.getResponseHeader("Sixgate-Status") ?? request.status);
    request.onload = () => resolve({ status: status(), url: request.responseURL, page: request.response });
    request.onerror = () => reject(new Error("no answer"));
    request.ontimeout = request.onerror;
    if (body === null) request.send();
    else {
      request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
      request.send(body);
    }
  });
}

/** Put the new element in the old one's place, and tell the other modules. */
export function put(old, fresh) {
  const adopted = document.adoptNode(fresh);
  old.replaceWith(adopted);
  document.dispatchEvent(new CustomEvent("sixgate:new", { detail: adopted }));
  return adopted;
}

/** Say something to who listens to the page. */
export function announce(text) {
  const region = document.getElementById("announce");
  if (region) region.textContent = text;
}

/** Run it on what is there, and on whatever comes in later. */
export function each(selector, work) {
  const on = (root) => {
    if (root.matches?.(selector)) work(root);
    for (const element of root.querySelectorAll(selector)) work(element);
  };
  on(document);
  document.addEventListener("sixgate:new", (event) => on(event.detail));
}
