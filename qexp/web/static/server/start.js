// The start page follows the runs: it is fetched again when one has changed, and every few seconds while one is at work.
const start = document.querySelector("[data-start]");
let shownStart = start?.innerHTML;

async function renewStart() {
  const answer = await fetch(address("/"), { credentials: "same-origin" }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-start]");
  const now = document.querySelector("[data-start]");
  if (!fresh || fresh.innerHTML === shownStart || now.contains(document.activeElement)) return;
  shownStart = fresh.innerHTML;
  now.replaceWith(fresh);
  drawLosses(fresh);
}

function drawLosses(page) {
  for (const place of page.querySelectorAll("[data-curve]")) {
    const values = JSON.parse(place.dataset.curve);
    if (values.length > 1) place.append(sparkline(values));
  }
}

if (start) {
  drawLosses(start);
  fetched(address("/disk.json")).then(({ total }) => {
    document.querySelector("[data-size-of-runs]").textContent = `, ${total.runs} in runs/`;
  }, () => null);
  let known = null;
  listen(() => address("/events"), { version: (version) => {
    if (known !== null && known !== version) renewStart();
    known = version;
  } });
  setInterval(() => { if (!document.hidden && document.querySelector("[data-working]")) renewStart(); }, 3000);
}

/** The loss of a run as a small curve, along its logarithm where it can be. */
function sparkline(values) {
  const [width, height] = [72, 20];
  const positive = values.every((value) => value > 0);
  const shown = positive ? values.map(Math.log) : values;
  const [low, high] = [Math.min(...shown), Math.max(...shown)];
  const places = shown.map((value, index) => [
    1 + ((width - 2) * index) / Math.max(shown.length - 1, 1), height - 2 - ((height - 4) * (value - low)) / (high - low || 1),
  ]);
  const words = `loss from ${digits(values[0])} to ${digits(values[values.length - 1])}`;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "sparkline", role: "img", "aria-label": words });
  svg.append(drawn("title", {}, words), drawn("path", { d: `M${places.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}` }));
  return svg;
}
