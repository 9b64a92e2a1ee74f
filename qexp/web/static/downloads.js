// Tables as CSV files and drawings as SVG or PNG files, as they are at the time: sorted, filtered, with the chosen colours.
const PIXELS = 2; // of a PNG, for each on the screen
const MOST_OF_HEAD = 40; // letters of the page's title in the name of a file
const TITLE = 26; // room above a drawing
const PROPERTIES = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "opacity",
  "font-family", "font-size", "font-weight", "text-anchor", "paint-order", "visibility",
];

function saveAs(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function fileName(words, ending) {
  const head = document.querySelector("h1")?.firstChild?.textContent ?? "";
  const clean = `${head.slice(0, MOST_OF_HEAD)} ${words}`.normalize("NFKD").replace(/[^\w.+-]+/g, "_").replace(/^_+|_+$/g, "");
  return `${clean.slice(0, 120) || "qexp"}.${ending}`;
}

/** The rows of a table that are seen: names as they are typed, numbers in full digits, each in a column of its own. */
function csvOf(table) {
  const [head, ...body] = [...table.rows].filter((row) => !row.hidden && !row.classList.contains("out"));
  const numbers = (cell) => (cell?.classList.contains("number") && cell.dataset.value ? cell.dataset.value.split(" ") : null);
  const plain = (cell) => {
    const text = (cell?.textContent ?? "").trim();
    if (!cell?.classList.contains("number")) return text;
    return text === "–" ? "" : text.replaceAll("−", "-");
  };
  const written = (cell) => numbers(cell) ?? [cell?.dataset.value ?? plain(cell)];
  const columns = [...head.cells].map((cell, index) => {
    const widest = Math.max(1, ...body.map((row) => written(row.cells[index]).length));
    const interval = body.some((row) => row.cells[index]?.textContent.startsWith("["));
    const name = (cell.title || cell.textContent).trim();
    const names = { 1: [name], 2: interval ? [`${name} low`, `${name} high`] : [name, `${name} deviation`], 3: [name, `${name} low`, `${name} high`] };
    return { widest, names: names[widest] ?? Array.from({ length: widest }, (_, at) => `${name} ${at + 1}`) };
  });
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = body.map((row) => columns.flatMap(({ widest }, index) => {
    const values = written(row.cells[index]);
    return [...values, ...Array(widest - values.length).fill("")];
  }));
  const all = [columns.flatMap(({ names }) => names), ...lines];
  const filled = all[0].map((_, index) => all.some((line) => line[index])); // a column of drawings has no texts
  return all.map((line) => `${line.filter((_, index) => filled[index]).map(quoted).join(",")}\n`).join("");
}

/** The nearest heading above a place. */
function headingOver(place, ...selectors) {
  for (let node = place; node && node !== document.body; node = node.parentElement) {
    for (let before = node.previousElementSibling; before; before = before.previousElementSibling) {
      if (before.matches(selectors.join(","))) return before.firstChild?.textContent ?? "";
    }
  }
  return "";
}

function offerTable(box) {
  const save = () => {
    const table = box.querySelector("table");
    saveAs(fileName(table.dataset.title || headingOver(box, "h2", "h3"), "csv"), csvOf(table), "text/csv");
  };
  box.after(element("p", { class: "of-table" }, element("button", {
    type: "button", class: "save", text: "CSV", title: "Save this table, with names as they are typed and all digits", onclick: save,
  })));
}

/** A drawing of SVG with its title and what styles give it, and below it what lies on canvases. */
function svgOf(svg, title) {
  const copy = svg.cloneNode(true);
  const [drawn_, copies] = [svg, copy].map((whole) => [whole, ...whole.querySelectorAll("*")]);
  drawn_.forEach((part, index) => {
    const style = getComputedStyle(part);
    for (const property of PROPERTIES) copies[index].setAttribute(property, style.getPropertyValue(property));
    copies[index].removeAttribute("class");
  });
  const { width, height } = svg.viewBox.baseVal;
  const seen = svg.getBoundingClientRect();
  for (const canvas of svg.parentElement.querySelectorAll(":scope > canvas")) {
    const box = canvas.getBoundingClientRect();
    copy.prepend(drawn("image", {
      href: canvas.toDataURL(), x: ((box.x - seen.x) * width) / seen.width, y: ((box.y - seen.y) * height) / seen.height,
      width: (box.width * width) / seen.width, height: (box.height * height) / seen.height,
      preserveAspectRatio: "none", "image-rendering": "pixelated",
    }));
  }
  const { backgroundColor, color } = getComputedStyle(document.body);
  const whole = { width, height: height + TITLE };
  const words = drawn("text", { x: 8, y: -9, fill: color, "font-family": "system-ui, sans-serif", "font-size": 13, "font-weight": 600 }, title);
  copy.prepend(drawn("rect", { y: -TITLE, ...whole, fill: backgroundColor }), words);
  const viewBox = `0 ${-TITLE} ${width} ${whole.height}`;
  setAttributes(copy, { xmlns: SVG, viewBox, ...whole });
  return new XMLSerializer().serializeToString(copy);
}

/** Curves of uPlot with their title and the words of each line. */
function pngOf(figure, title) {
  const plot = figure.querySelector(".uplot canvas");
  const style = getComputedStyle(figure);
  const [width, plotHeight] = [plot.clientWidth, plot.clientHeight];
  const own = [...figure.querySelectorAll('.of-curves button[aria-pressed="true"]')];
  const entries = own.length
    ? own.map((button) => ({ words: button.dataset.words, colour: button.dataset.colour }))
    : GROUPS.names.flatMap((words, group) => (GROUPS.hidden.has(group) ? [] : [{ words, colour: colourOfGroup(group) }]));
  const whole = element("canvas", { width: PIXELS * width, height: PIXELS * (30 + plotHeight + 20 * entries.length) });
  const context = whole.getContext("2d");
  context.scale(PIXELS, PIXELS);
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, whole.width, whole.height);
  context.drawImage(plot, 0, 30, width, plotHeight);
  context.fillStyle = style.color;
  context.font = "600 15px system-ui, sans-serif";
  context.fillText(title, 8, 19, width - 16);
  context.font = "13px system-ui, sans-serif";
  entries.forEach(({ words, colour }, index) => {
    const y = 30 + plotHeight + 20 * index;
    context.fillStyle = colour || style.color;
    context.fillRect(8, y + 6, 20, 3);
    context.fillStyle = style.color;
    context.fillText(words, 36, y + 12, width - 44);
  });
  return new Promise((done) => { whole.toBlob(done, "image/png"); });
}

const imageKind = (image) => (/^data:image\/svg/.test(image.src) ? "svg" : "png");

/** A button beside the title of a drawing that saves it. */
function offerDrawing(figure) {
  const caption = figure.querySelector(":scope > figcaption") ?? figure.insertBefore(element("figcaption"), figure.firstChild);
  if (caption.querySelector(".save")) return;
  const title = figure.dataset.title || caption.textContent.trim() || headingOver(figure, "h2", "h3");
  const [image, svg] = [":scope > img", "svg.frame"].map((selector) => figure.querySelector(selector));
  const kind = image ? imageKind(image) : svg ? "svg" : figure.querySelector(".uplot") ? "png" : null;
  if (!kind) return;
  const save = async () => {
    const shown = figure.querySelector("svg.frame");
    const content = shown ? svgOf(shown, title) : await pngOf(figure, title);
    saveAs(fileName(title, kind), content, "image/svg+xml");
  };
  const link = image && { href: image.src, download: fileName(title, kind) };
  caption.append(link
    ? element("a", { class: "save", ...link, text: kind.toUpperCase(), title: "Save this drawing" })
    : element("button", { type: "button", class: "save", text: kind.toUpperCase(), title: "Save this drawing", onclick: save }));
}

document.querySelectorAll("div.scrolled:has(table)").forEach(offerTable);
document.querySelectorAll("figure").forEach(offerDrawing);
