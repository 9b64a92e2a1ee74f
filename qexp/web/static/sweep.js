"use strict";
// A sweep: any two values of the runs against each other, and all their values as parallel lines, on whose axes ranges
// can be chosen; linked to the table.
const SWEEP = { width: 430, height: 300, left: 76, right: 16, top: 10, bottom: 46 };
const DECADES = 30;

function drawSweep(place, { runs, groups, names, columns }) {
  if (columns.length < 2) return;
  const scales = columns.map(scaleOfColumn);
  const readout = readoutOf("p", "Point at a run to read its values.");
  const parts = [];
  const show = (index) => {
    for (const part of parts) part.mark(index);
    const values = columns.map((column) => `${column.words} ${written(column, column.values[index])}`);
    readout.replaceChildren(element("b", { text: runs[index] }), `: ${values.join(", ")}`);
    for (const [name, row] of rowsOfRuns()) row.classList.toggle("shown", name === runs[index]);
  };
  const colour = (index) => (names.length <= LINE_COLOURS.length ? LINE_COLOURS[groups[index]] : LINE_COLOURS[0]);
  const result = columns.findIndex((column) => column.main && column.numeric);
  const key = Math.max(columns.findIndex((column) => column.key && column.words !== "seed"), 0);
  const beside = columns.flatMap((column, index) => (column.main || (column.key && column.words !== "seed") ? [index] : []));
  const of = (all) => beside.map((index) => all[index]);
  const counted = element("p", { class: "quiet", role: "status", "aria-live": "polite" });
  const ranges = new Ranges(of(columns), of(scales), () => {
    for (const part of [...parts, fields]) part.fade();
    counted.textContent = wordsOfRanges(ranges, runs);
  });
  const fields = fieldsOf(ranges);
  const second = result >= 0 ? result : columns.findIndex((_, index) => index !== key);
  parts.push(scatterOf({ runs, columns, scales, ranges, colour, first: key, second, show }));
  if (names.length > 1 && names.length <= LINE_COLOURS.length) parts[0].figure.append(keyOf(names));
  place.append(parts[0].figure);
  if (beside.length > 1) {
    const width = place.clientWidth;
    parts.push(parallelOf({ runs, columns: of(columns), scales: of(scales), ranges, result: beside.indexOf(result), width, show }));
    place.append(parts[1].figure, counted, fields.figure);
    counted.textContent = wordsOfRanges(ranges, runs);
  }
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

/** A column's ends, places of its values from 0 to 1, and its marks; logarithmic where its values span decades. */
function scaleOfColumn(column) {
  const known = column.values.filter((value) => value !== null);
  if (!column.numeric) {
    const texts = sortedTexts(column);
    const at = (value) => (value === null ? NaN : (texts.indexOf(value) + 0.5) / texts.length);
    const text = (share, side) => (side ? texts.findLast((one) => at(one) <= share) : texts.find((one) => at(one) >= share)) ?? "";
    return { at, text, marks: texts.map((one) => [at(one), one]) };
  }
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const logarithmic = low > 0 && high / low >= DECADES;
  const of = logarithmic ? Math.log10 : (value) => value;
  const room = 0.05 * (of(high) - of(low)) || 0.5;
  [low, high] = [of(low) - room, of(high) + room];
  const at = (value) => (value === null ? NaN : (of(value) - low) / (high - low));
  const text = (share) => {
    const value = low + share * (high - low);
    return Number.isFinite(value) ? String(Number((logarithmic ? 10 ** value : value).toPrecision(4))) : "";
  };
  const few = [...new Set(known)];
  const apart = few.every((one) => few.every((other) => one === other || Math.abs(at(one) - at(other)) > 0.06));
  const values = few.length <= 5 && apart ? few : logarithmic ? decades(low, high) : ticks(low, high, 5);
  return { at, text, marks: values.map((value) => [at(value), digits(value)]) };
}

function sortedTexts(column) {
  const known = column.values.filter((value) => value !== null);
  return [...new Set(known)].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
}

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const factor of high - low < 2 ? [1, 2, 5] : [1]) found.push(factor * 10 ** power);
  }
  return found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
}

function written(column, value) {
  return column.numeric ? digits(value) : String(value ?? "none");
}

function scatterOf({ runs, columns, scales, ranges, colour, first, second, show }) {
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
    const points = runs.map((_, index) => {
      const [cx, cy] = place(index);
      return Number.isNaN(cx + cy) ? null : drawn("circle", { cx, cy, r: 4, fill: colour(index), "fill-opacity": 0.75 });
    });
    points.forEach((point, index) => point?.classList.toggle("out", !ranges.holds(index)));
    const box = drawn("rect", { x: left, y: top, width, height, class: "box" });
    mark.setAttribute("visibility", "hidden");
    svg.replaceChildren(box, ...marks, ...points.filter(Boolean), mark);
  };
  const choices = chosen.map((column, axis) => {
    const options = columns.map((one, index) => element("option", {
      value: index, text: one.words, ...(index === column ? { selected: "" } : {}),
    }));
    const select = element("select", { "aria-label": axis ? "upwards" : "across" }, ...options);
    select.addEventListener("change", () => { chosen[axis] = Number(select.value); paint(); });
    return element("label", {}, axis ? "upwards " : "across ", select);
  });
  paint();
  const order = () => [...runs.keys()].filter((index) => ranges.holds(index) && !Number.isNaN(place(index)[0] + place(index)[1]))
    .sort((one, other) => place(one)[0] - place(other)[0] || place(other)[1] - place(one)[1]);
  const over = overRuns(svg, "scatter wide", order, (x, y) => nearestOf(order(), place, x, y), show);
  return {
    figure: element("figure", {}, element("div", { class: "choices" }, choices[1], choices[0]), over),
    fade: paint,
    mark: (index) => {
      const [x, y] = place(index);
      mark.setAttribute("cx", x);
      mark.setAttribute("cy", y);
      mark.setAttribute("visibility", Number.isNaN(x + y) ? "hidden" : "visible");
    },
  };
}

function marksOf(marks, axis) {
  const { width, height, left, top } = SWEEP;
  return marks.flatMap(([share, text]) => {
    const [x, y] = [left + width * share, top + height * (1 - share)];
    const shown = text.length > 12 ? `${text.slice(0, 11)}…` : text;
    return axis
      ? [drawn("path", { d: `M${left} ${y}h-4`, class: "tick" }),
        drawn("text", { x: left - 7, y: y + 4, class: "end" }, shown)]
      : [drawn("path", { d: `M${x} ${top + height}v4`, class: "tick" }),
        drawn("text", { x, y: top + height + 17, class: "middle" }, shown)];
  });
}

function nearestOf(indices, at, x, y) {
  let [found, least] = [-1, 20 ** 2];
  for (const index of indices) {
    const [px, py] = at(index);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [found, least] = [index, distance];
  }
  return found;
}

/** A drawing in which the mouse finds runs, and arrow keys go through them in an order. */
function overRuns(svg, name, order, found, show) {
  let shown = -1;
  const tell = (index) => { shown = index; show(index); };
  const step = (event) => {
    const far = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
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
    class: name, tabindex: 0, role: "group", "aria-label": "arrow keys go through the runs", onpointermove: moved,
    onkeydown: step,
  }, svg);
}

everyOne("sweep", drawSweep);
