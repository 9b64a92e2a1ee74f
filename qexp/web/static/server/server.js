// What all pages of the server share: addresses, requests, and streams that rest while nobody looks.
const PREFIX = document.body.dataset.prefix || "";

function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const text = new URLSearchParams(given).toString();
  return `${PREFIX}${path}${text ? `?${text}` : ""}`;
}

/** The JSON of an address. An answer that says what is wrong is an error with these words. */
async function fetched(where, options = {}) {
  const response = await fetch(where, { credentials: "same-origin", ...options });
  const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.error || `the server answered ${response.status}`);
  return answer;
}

/**
 * Events of the server while the page is visible: a browser opens six connections at most, and hidden pages need none.
 * `where()` is the address to begin at; `heard` maps names of events to functions of their data and id.
 */
function listen(where, heard) {
  let source = null;
  let ended = false;
  const close = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    if (source || ended || document.hidden) return;
    source = new EventSource(where());
    for (const [name, act] of Object.entries(heard)) {
      source.addEventListener(name, (event) => act(event.data, event.lastEventId));
    }
    source.addEventListener("end", () => { ended = true; close(); });
    source.addEventListener("error", () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      close();
      setTimeout(open, 3000);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
}

function later(act, milliseconds) {
  let waiting = 0;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => act(...given), milliseconds);
  };
}

/** Names of runs in the tables of reports lead to their pages. */
for (const row of document.querySelectorAll("table[data-runs] tbody tr")) {
  const name = row.cells[0].textContent;
  row.cells[0].replaceChildren(element("a", { href: address(`/runs/${encodeURIComponent(name)}`), text: name }));
}
