// Results of groups: a dot for each seed, mean and interval, in a panel for each output; the rows stand alike in all.
const FOREST = { row: 34, bottom: 44, top: 8, label: 220, slim: 124, words: 168, narrow: 520, widest: 620, letter: 6.3 };

function drawForest(place, { metrics, level }) {
  const names = [...new Set(metrics.map(({ metric }) => metric))];
  const main = metrics.find(({ main }) => main) ?? metrics[0];
  const chosen = menuOf("metric", names, () => draw(), names.indexOf(main.metric));
  const log = element("input", { type: "checkbox", onchange: () => draw() });
  const panels = element("div", { class: "panels" });
  const note = element("p", { class: "quiet" });
  const draw = () => {
    const shown = metrics.filter(({ metric }) => metric === names[chosen.menu.value]);
    const groups = GROUPS.alone ? [0] : [...GROUPS.names.keys()].filter((group) => !GROUPS.hidden.has(group));
    const width = Math.max(Math.min(place.clientWidth || FOREST.widest, FOREST.widest), 280);
    panels.replaceChildren(...shown.map((metric) => {
      const rows = groups.map((group) => rowOfForest(metric, group));
      const words = rows.filter((row) => row.mean !== undefined).map((row) => `${row.name} ${row.text}`).join("; ");
      const svg = forestOf(metric, rows, width, log.checked);
      setAttributes(svg, { role: "img", "aria-label": `${metric.words}: ${words}` });
      return element("figure", {}, element("figcaption", { text: `${metric.words}, test part` }), svg);
    }));
    panels.querySelectorAll("figure").forEach(offerDrawing);
    const counts = shown.flatMap((metric) => groups.map((group) => rowOfForest(metric, group).values.length)).filter(Boolean);
    const [least, most] = [Math.min(...counts), Math.max(...counts)];
    const seeds = `${least === most ? least : `${least} to ${most}`} ${GROUPS.mixed ? "run" : "seed"}${most === 1 ? "" : "s"}`;
    note.textContent = GROUPS.mixed
      ? `Dots: runs; diamonds: their mean over ${seeds} of different specs, which has no interval.`
      : `Dots: seeds; diamond and bar: mean over ${seeds} and its ${level} % interval (Student)${least === 1 ? "; none of a single seed" : ""}.`;
  };
  place.append(element("div", { class: "choices" }, chosen.whole, element("label", {}, log, " logarithmic axis")), panels, note);
  GROUPS.follow(draw);
  draw();
  let seen = place.clientWidth;
  new ResizeObserver(() => { if (Math.abs(place.clientWidth - seen) > 1) { seen = place.clientWidth; draw(); } }).observe(place);
}

/** What a row shows: the values of the groups that are joined in it, and an interval if that is one group. */
function rowOfForest({ values, intervals }, group) {
  const own = GROUPS.alone ? [0] : [...GROUPS.base.keys()].filter((base) => GROUPS.joined[base] === group);
  const all = own.flatMap((base) => Object.values(values[base]));
  const name = GROUPS.alone ? GROUPS.base[0] : GROUPS.names[group];
  if (!all.length) return { name, group, values: all, text: "none" };
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  const ends = own.length === 1 ? intervals[own[0]] : null;
  const deviation = Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (all.length - 1));
  const text = all.length > 1 ? pairOf(mean, deviation) : digits(mean);
  return { name, group, values: all, mean, ends, text: `${text} (n = ${all.length})` };
}

function forestOf(metric, rows, width, log) {
  const wide = width >= FOREST.narrow;
  const room = wide ? FOREST.label : FOREST.slim;
  const lines = rows.map((row) => wrapped(row.name, Math.floor(room / FOREST.letter)));
  const left = Math.min(Math.max(...lines.flat().map((text) => FOREST.letter * text.length), 20) + 12, room + 10);
  const right = wide ? FOREST.words : 12;
  const inner = width - left - right;
  const heights = lines.map((all) => Math.max(FOREST.row, 13 * all.length + 8 + (wide ? 0 : 14)));
  const height = heights.reduce((sum, height) => sum + height, 0);
  const known = rows.flatMap((row) => [...row.values, ...(row.ends ?? [])]).filter(Number.isFinite);
  const logarithmic = log && rows.every((row) => row.values.every((value) => value > 0));
  const scale = scaleBetween(logarithmic ? rows.flatMap((row) => row.values) : known, logarithmic, metric.least);
  const x = (value) => left + inner * Math.min(Math.max(scale.at(value), 0), 1);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${FOREST.top + height + FOREST.bottom}`, width, class: "frame forest" });
  svg.append(drawn("rect", { x: left, y: FOREST.top, width: inner, height, class: "box" }));
  for (const value of scale.marks(inner / 45)) {
    svg.append(drawn("path", { d: `M${x(value)} ${FOREST.top}v${height + 4}`, class: "line" }));
    svg.append(drawn("text", { x: x(value), y: FOREST.top + height + 17, class: "middle" }, digits(value)));
  }
  svg.append(drawn("text", { x: left + inner / 2, y: FOREST.top + height + 36, class: "axis-words middle" }, label(metric.words, metric.unit)));
  let top = FOREST.top;
  rows.forEach((row, index) => {
    const middle = top + heights[index] / 2 + (wide ? 0 : 5);
    const colour = colourOfGroup(row.group);
    lines[index].forEach((text, line) => svg.append(drawn("text", {
      x: left - 8, y: middle + 4 + 13 * (line - (lines[index].length - 1) / 2), class: "end",
    }, text)));
    for (const value of row.values) svg.append(drawn("circle", { cx: x(value), cy: middle - 6, r: 3.5, fill: colour, "fill-opacity": 0.55 }));
    if (row.mean !== undefined) {
      if (row.ends) svg.append(drawn("path", { d: `M${x(row.ends[0])} ${middle + 5}H${x(row.ends[1])}`, stroke: colour, "stroke-width": 2.4 }));
      const at = x(row.mean);
      svg.append(drawn("path", { d: `M${at - 5} ${middle + 5}l5 -5l5 5l-5 5z`, fill: colour }));
    }
    const [place, side] = wide ? [[left + inner + 8, middle + 4], ""] : [[left + inner - 4, top + 12], "end"];
    svg.append(drawn("text", { x: place[0], y: place[1], class: `${side} quiet-words` }, row.text));
    top += heights[index];
  });
  return svg;
}

/** A text in lines of at most some letters, divided at spaces, else after = and _, else anywhere. */
function wrapped(text, most) {
  const lines = [];
  let rest = text;
  while (rest.length > most) {
    const head = rest.slice(0, most + 1);
    const space = head.lastIndexOf(" ");
    const cut = space > 3 ? space : Math.max(head.lastIndexOf("=") + 1, head.lastIndexOf("_") + 1);
    const at = cut > 3 && cut <= most ? cut : most;
    lines.push(rest.slice(0, at).trim());
    rest = rest.slice(at).trim();
  }
  return [...lines, rest];
}

everyOne("forest", drawForest);
