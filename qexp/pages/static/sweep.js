"use strict";
// A sweep: any two values of the runs against each other, and all their values as parallel lines; linked to the table.
const SWEEP = { width: 430, height: 300, left: 76, right: 16, top: 10, bottom: 46 };
const BESIDE = { height: 260, top: 34, bottom: 22, left: 64, right: 96, apart: 130 };
const DECADES = 30;

function drawSweep(place, { runs, groups, names, columns }) {
  if (columns.length < 2) return;
  const scales = columns.map(scaleOfColumn);
  const readout = element("p", { class: "readout", role: "status", "aria-live": "polite" });
  const parts = [];
  const show = (index) => {
    for (const part of parts) part.mark(index);
    const values = columns.map((column) => `${column.words} ${written(column, column.values[index])}`);
    readout.replaceChildren(element("b", { text: runs[index] }), `: ${values.join(", ")}`);
    markRow(runs[index]);
  };
  const colour = (index) => (names.length <= LINE_COLOURS.length ? LINE_COLOURS[groups[index]] : LINE_COLOURS[0]);
  const result = columns.findIndex((column) => column.main && column.numeric);
  const key = columns.findIndex((column) => column.key && column.words !== "seed");
  parts.push(scatterOf({ runs, columns, scales, colour, first: Math.max(key, 0), second: Math.max(result, 1), show }));
  const beside = columns.flatMap((column, index) => (column.main || (column.key && column.words !== "seed") ? [index] : []));
  if (beside.length > 2) {
    const of = (all) => beside.map((index) => all[index]);
    parts.push(parallelOf({ runs, columns: of(columns), scales: of(scales), result: beside.indexOf(result), show }));
  }
  place.append(...parts.map((part) => part.figure), readout);
}

/** A column's ends, places of its values from 0 to 1, and its marks; logarithmic where its values span decades. */
function scaleOfColumn(column) {
  const known = column.values.filter((value) => value !== null);
  if (!column.numeric) {
    const texts = [...new Set(known)].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
    const at = (value) => (value === null ? NaN : (texts.indexOf(value) + 0.5) / texts.length);
    return { at, marks: texts.map((text) => [at(text), text]) };
  }
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const logarithmic = low > 0 && high / low >= DECADES;
  const of = logarithmic ? Math.log10 : (value) => value;
  const room = 0.05 * (of(high) - of(low)) || 0.5;
  [low, high] = [of(low) - room, of(high) + room];
  const at = (value) => (value === null ? NaN : (of(value) - low) / (high - low));
  const few = [...new Set(known)];
  const values = few.length <= 5 ? few : logarithmic ? decades(low, high) : ticks(low, high, 5);
  return { at, marks: values.map((value) => [at(value), digits(value)]) };
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

function markRow(name) {
  for (const row of document.querySelectorAll("table[data-runs] tbody tr")) {
    row.classList.toggle("shown", row.cells[0].textContent === name);
  }
}

function scatterOf({ runs, columns, scales, colour, first, second, show }) {
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
  const order = () => [...runs.keys()].filter((index) => !Number.isNaN(place(index)[0] + place(index)[1]))
    .sort((one, other) => place(one)[0] - place(other)[0] || place(other)[1] - place(one)[1]);
  const over = overRuns(svg, "scatter wide", order, (x, y) => nearestOf(order(), place, x, y), show);
  return {
    figure: element("figure", {}, element("div", { class: "choices" }, choices[1], choices[0]), over),
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

/** A line for each run over one axis for each column, coloured by its first result. */
function parallelOf({ runs, columns, scales, result, show }) {
  const { height, top, left, right, apart } = BESIDE;
  const width = left + right + apart * (columns.length - 1);
  const svg = drawn("svg", {
    viewBox: `0 0 ${width} ${top + height + BESIDE.bottom}`, width, class: "frame beside", "aria-hidden": "true",
  });
  const at = (index) => scales.map((scale, column) => [
    left + apart * column, top + height * (1 - scale.at(columns[column].values[index])),
  ]);
  const map = colours(COLOUR_MAPS.sequential.viridis);
  const lines = runs.map((_, index) => {
    const share = result < 0 ? 0.3 : scales[result].at(columns[result].values[index]);
    const best = result >= 0 && columns[result].best === "highest" ? share : 1 - share;
    const colour = Number.isNaN(share) ? BLANK : colourOf(map, 0.9 * best);
    const known = at(index).filter(([, y]) => !Number.isNaN(y));
    const d = known.map(([x, y], step) => `${step ? "L" : "M"}${x} ${y.toFixed(1)}`).join("");
    return drawn("path", { d, fill: "none", stroke: `rgb(${colour})`, "stroke-width": 1.5, "stroke-opacity": 0.8 });
  });
  const axes = columns.flatMap((column, index) => {
    const x = left + apart * index;
    const words = column.words.length > 20 ? `${column.words.slice(0, 19)}…` : column.words;
    return [
      drawn("path", { d: `M${x} ${top}v${height}`, class: "tick" }),
      drawn("text", { x, y: index % 2 ? 26 : 12, class: "middle" }, words),
      ...scales[index].marks.map(([share, text]) => drawn("text", {
        x: x - 5, y: top + height * (1 - share) + 4, class: "end",
      }, text.length > 10 ? `${text.slice(0, 9)}…` : text)),
    ];
  });
  const mark = drawn("path", { class: "line-shown" });
  svg.append(...lines, ...axes, mark);
  const order = () => {
    const values = columns[Math.max(result, 0)].values;
    return [...runs.keys()].sort((one, other) => (values[one] ?? Infinity) - (values[other] ?? Infinity));
  };
  const found = (x, y) => {
    const column = Math.min(Math.max(Math.round((x - left) / apart), 0), columns.length - 1);
    let [nearest, least] = [-1, 24];
    runs.forEach((_, index) => {
      const places = at(index);
      const other = Math.min(Math.max(column + (x > places[column][0] ? 1 : -1), 0), columns.length - 1);
      const share = other === column ? 0 : Math.abs(x - places[column][0]) / apart;
      const distance = Math.abs(places[column][1] * (1 - share) + places[other][1] * share - y);
      if (distance < least) [nearest, least] = [index, distance];
    });
    return nearest;
  };
  const over = overRuns(svg, "scrolled over-lines", order, found, show);
  return {
    figure: element("figure", { class: "whole" }, over),
    mark: (index) => mark.setAttribute("d", lines[index].getAttribute("d")),
  };
}

everyOne("sweep", drawSweep);
