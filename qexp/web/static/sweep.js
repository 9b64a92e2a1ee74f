// A sweep: any two values of the runs against each other, and all their values as parallel lines, on whose axes ranges
// can be chosen; linked to the table.
const SWEEP = { width: 430, height: 300, left: 88, right: 16, top: 10, bottom: 46 };
const DECADES = 30;

function drawSweep(place, { runs, columns }) {
  if (columns.length < 2) return;
  for (const column of columns) Object.assign(column, { title: label(column.words, column.unit), log: startsLogarithmic(column), flipped: false });
  const scales = columns.map(() => null);
  const rescale = () => columns.forEach((column, index) => { scales[index] = scaleOfColumn(column); });
  rescale();
  const readout = readoutOf("p", "Point at a run to read its values.");
  const parts = [];
  const show = (index) => {
    for (const part of parts) part.mark(index);
    const values = columns.map((column) => `${column.title} ${written(column, column.values[index])}`);
    readout.replaceChildren(element("b", { text: runs[index] }), `: ${values.join(", ")}`);
    for (const [name, row] of rowsOfRuns()) row.classList.toggle("shown", name === runs[index]);
  };
  const colour = (index) => colourOfGroup(GROUPS.of(runs[index]) ?? 0);
  const shows = (index) => GROUPS.shows(runs[index]);
  SWEEP.width = Math.max(Math.min(430, place.clientWidth - SWEEP.left - SWEEP.right), 200);
  const result = columns.findIndex((column) => column.main && column.numeric);
  const key = Math.max(columns.findIndex((column) => column.key && column.words !== "seed"), 0);
  const beside = columns.flatMap((column, index) => (column.main || (column.key && column.words !== "seed") ? [index] : []));
  const counted = element("p", { class: "quiet", role: "status", "aria-live": "polite" });
  const own = beside.map((index) => columns[index]);
  const ownScale = (index) => scales[beside[index]];
  const ranges = new Ranges(own, ownScale, () => {
    for (const part of [...parts, fields]) part.fade();
    counted.textContent = wordsOfRanges(ranges, runs);
  });
  const changed = () => {
    rescale();
    for (const part of parts) part.paint();
    ranges.changed();
  };
  const fields = fieldsOf(ranges, changed);
  const second = result >= 0 ? result : columns.findIndex((_, index) => index !== key);
  const given = { runs, ranges, colour, shows, show };
  parts.push(scatterOf({ ...given, columns, scales, first: key, second, changed }));
  place.append(parts[0].figure);
  if (beside.length > 1) {
    const besideIt = place.clientWidth - parts[0].figure.offsetWidth - 24;
    const width = besideIt >= widthOfAxes(beside.length) ? besideIt : place.clientWidth;
    parts.push(parallelOf({ ...given, columns: own, scaleOf: ownScale, result: Math.max(beside.indexOf(result), 0), width }));
    place.append(parts[1].figure, counted, fields.figure);
    counted.textContent = wordsOfRanges(ranges, runs);
  }
  GROUPS.follow(changed);
  place.append(readout);
}

/** Name of a run → its row in the table of all runs. */
function rowsOfRuns() {
  return [...document.querySelectorAll("table[data-runs] tbody tr")].map((row) => [row.cells[0].textContent, row]);
}

/** How many runs are in the ranges; the rows of the others leave the table. */
function wordsOfRanges(ranges, runs) {
  const held = new Set(runs.filter((_, index) => ranges.holds(index)));
  for (const [name, row] of rowsOfRuns()) row.classList.toggle("out", !held.has(name));
  const drag = "Drag along an axis to choose a range; click on it to clear the range.";
  return ranges.of.size ? `${held.size} of ${runs.length} runs are in the chosen ranges. ${drag}` : drag;
}

/** Whether a column is better seen on a logarithmic axis: results over decades, and keys whose values grow by factors. */
function startsLogarithmic(column) {
  const known = [...new Set(column.values.filter((value) => value !== null))].sort((one, other) => one - other);
  if (!column.numeric || known.length < 2 || known[0] <= 0) return false;
  const ratio = known[known.length - 1] / known[0];
  if (ratio >= DECADES) return true;
  if (!column.key || column.words === "seed" || ratio < 3) return false;
  const uneven = (values) => {
    const gaps = values.slice(1).map((value, index) => value - values[index]);
    return Math.max(...gaps) / Math.min(...gaps);
  };
  return uneven(known.map(Math.log)) <= uneven(known);
}

/** A column's places of its values from 0 to 1, and its marks, on the axis that was chosen for it. */
function scaleOfColumn(column) {
  const turned = (share) => (column.flipped ? 1 - share : share);
  if (!column.numeric) {
    const texts = sortedTexts(column);
    const at = (value) => (value === null ? NaN : turned((texts.indexOf(value) + 0.5) / texts.length));
    const inside = (low, high) => texts.filter((text) => at(text) >= low && at(text) <= high);
    const text = (range, side) => inside(...range).at((side === 1) !== column.flipped ? -1 : 0) ?? "";
    return { at, text, marks: texts.map((text) => [at(text), text]) };
  }
  const known = column.values.filter((value) => value !== null);
  const scale = scaleBetween(known, column.log);
  const at = (value) => turned(scale.at(value));
  const text = (range, side) => {
    const value = scale.back(turned(range[column.flipped ? 1 - side : side]));
    return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "";
  };
  const few = [...new Set(known)];
  const apart = few.every((one) => few.every((other) => one === other || Math.abs(at(one) - at(other)) > 0.06));
  const values = column.key && few.length <= 6 && apart ? few : scale.marks(5);
  return { at, text, marks: values.map((value) => [at(value), digits(value)]) };
}

function sortedTexts(column) {
  const known = column.values.filter((value) => value !== null);
  return [...new Set(known)].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
}

function written(column, value) {
  return column.numeric ? digits(value) : String(value ?? "none");
}

function scatterOf({ runs, columns, scales, ranges, colour, shows, first, second, show, changed }) {
  const chosen = [first, second];
  const { width, height, left, top } = SWEEP;
  const svg = drawn("svg", {
    viewBox: `0 0 ${left + width + SWEEP.right} ${top + height + SWEEP.bottom}`, class: "frame", "aria-hidden": "true",
  });
  const place = (index) => {
    const [x, y] = chosen.map((column) => scales[column].at(columns[column].values[index]));
    return [left + width * x, top + height * (1 - y)];
  };
  const mark = drawn("circle", { r: 7, class: "mark", visibility: "hidden" });
  const paint = () => {
    const marks = chosen.flatMap((column, axis) => marksOf(scales[column].marks, axis));
    const [x, y] = chosen.map((column) => columns[column].title);
    const titles = [
      drawn("text", { x: left + width / 2, y: top + height + 40, class: "axis-words middle" }, x),
      drawn("text", { transform: `translate(14 ${top + height / 2}) rotate(-90)`, class: "axis-words middle" }, y),
    ];
    const points = runs.map((_, index) => {
      const [cx, cy] = place(index);
      return Number.isNaN(cx + cy) || !shows(index) ? null : drawn("circle", { cx, cy, r: 4.5, fill: colour(index), "fill-opacity": 0.8 });
    });
    points.forEach((point, index) => point?.classList.toggle("out", !ranges.holds(index)));
    const box = drawn("rect", { x: left, y: top, width, height, class: "box" });
    mark.setAttribute("visibility", "hidden");
    svg.replaceChildren(box, ...marks, ...titles, ...points.filter(Boolean), mark);
  };
  const choices = chosen.map((column, axis) => {
    const options = columns.map(({ title }, index) => element("option", { value: index, text: title, selected: index === column }));
    const name = axis ? "y axis" : "x axis";
    const select = element("select", { "aria-label": name }, ...options);
    const log = element("input", { type: "checkbox", "aria-label": `logarithmic ${name}` });
    const follow = () => { [log.checked, log.disabled] = [columns[chosen[axis]].log, !canBeLogarithmic(columns[chosen[axis]])]; };
    select.addEventListener("change", () => { chosen[axis] = Number(select.value); follow(); paint(); });
    log.addEventListener("change", () => { columns[chosen[axis]].log = log.checked; changed(); });
    follow();
    return { follow, whole: element("span", {}, element("label", {}, `${name} `, select), " ", element("label", {}, log, " log")) };
  });
  paint();
  const order = () => [...runs.keys()].filter((index) => ranges.holds(index) && shows(index) && !Number.isNaN(place(index)[0] + place(index)[1]))
    .sort((one, other) => place(one)[0] - place(other)[0] || place(other)[1] - place(one)[1]);
  const over = overRuns(svg, "scatter wide", order, (x, y) => nearestOf(order(), place, x, y), show);
  return {
    figure: element("figure", {}, element("figcaption", { text: "Two values of each run" }), element("div", { class: "choices" }, choices[0].whole, choices[1].whole), over),
    fade: paint,
    paint: () => { for (const choice of choices) choice.follow(); paint(); },
    mark: (index) => {
      const [cx, cy] = place(index);
      setAttributes(mark, { cx, cy, visibility: Number.isNaN(cx + cy) ? "hidden" : "visible" });
    },
  };
}

function canBeLogarithmic(column) {
  return column.numeric && column.values.every((value) => value === null || value > 0);
}

function marksOf(marks, axis) {
  const { width, height, left, top } = SWEEP;
  return marks.flatMap(([share, text]) => {
    const [x, y] = [left + width * share, top + height * (1 - share)];
    const shown = text.length > 13 ? `${text.slice(0, 12)}…` : text;
    return axis
      ? [drawn("path", { d: `M${left} ${y}h-4`, class: "tick" }),
        drawn("text", { x: left - 7, y: y + 4, class: "end" }, shown)]
      : [drawn("path", { d: `M${x} ${top + height}v4`, class: "tick" }),
        drawn("text", { x, y: top + height + 17, class: "middle" }, shown)];
  });
}

function nearestOf(indices, at, x, y, near = 20) {
  let [found, least] = [-1, near ** 2];
  for (const index of indices) {
    const [px, py] = at(index);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [found, least] = [index, distance];
  }
  return found;
}

const ARROWS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

/** A drawing in which the mouse finds runs or samples, and arrow keys go through them in an order. */
function overRuns(svg, name, order, found, show, words = "arrow keys go through the runs", arrows = ARROWS) {
  let shown = -1;
  const tell = (index) => { shown = index; show(index); };
  const step = (event) => {
    const far = arrows[event.key];
    if (!far) return;
    event.preventDefault();
    const all = order();
    tell(all[Math.min(Math.max(all.indexOf(shown) + far, 0), all.length - 1)]);
  };
  const moved = (event) => {
    const seen = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / seen.width;
    const index = found((event.clientX - seen.left) * scale, (event.clientY - seen.top) * scale);
    if (index >= 0) tell(index);
  };
  return element("div", {
    class: name, tabindex: 0, role: "group", "aria-label": words, onpointermove: moved, onkeydown: step,
  }, svg);
}

everyOne("sweep", drawSweep);
