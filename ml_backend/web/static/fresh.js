// Keeps the status page up to date without reloading it: what is typed, opened or scrolled to stays.
"use strict";

async function renew() {
  const busy = document.body.dataset.busy;
  const typed = [...document.querySelectorAll("input")].some((one) =>
    one.type === "checkbox" ? one.checked !== one.defaultChecked : one.value !== one.defaultValue
  );
  const writing = typed || ["INPUT", "SELECT"].includes(document.activeElement.tagName);
  if (!writing && !document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
      const open = [...document.querySelectorAll("details")].map((one) => one.open);
      if (answer.ok && fresh.innerHTML !== document.body.innerHTML) {
        document.body.replaceWith(fresh);
        document.querySelectorAll("details").forEach((one, number) => (one.open = Boolean(open[number])));
      }
    } catch {
      // The server is away for a moment; the next time tells.
    }
  }
  setTimeout(renew, busy ? 2000 : 10000);
}

setTimeout(renew, document.body.dataset.busy ? 2000 : 10000);
