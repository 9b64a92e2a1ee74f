"use strict";
// A line for each run over one axis for each column of a sweep, coloured by its first result.
const BESIDE = { height: 260, top: 34, bottom: 22, left: 80, right: 96, closest: 130, farthest: 220 };

function parallelOf({ runs, columns, scales, ranges, result, width, show }) {
  const { height, top, left, right } = BESIDE;
  const apart = Math.min(Math.max((width - left - right) / (columns.length - 1), BESIDE.closest), BESIDE.farthest);
  const whole = left + right + apart * (columns.length - 1);
  const svg = drawn("svg", {
    viewBox: `0 0 ${whole} ${top + height + BESIDE.bottom}`, width: whole, class: "frame beside", "aria-hidden": "true",
  });
  const at = (index) => scales.map((scale, column) => [
    left + apart * column, top + height * (1 - scale.at(columns[column].values[index])),
  ]);
  const lines = linesOf(runs, columns, scales, result, at);
  const share = (event) => {
    const seen = svg.getBoundingClientRect();
    const y = (event.clientY - seen.top) * (svg.viewBox.baseVal.height / seen.height);
    return Math.min(Math.max(1 - (y - top) / height, 0), 1);
  };
  const axes = columns.map((_, index) => axisOf(ranges, index, { x: left + apart * index, top, height }, share));
  const mark = drawn("path", { class: "line-shown" });
  const titles = columns.flatMap((column, index) => titleOf(column, scales[index], left + apart * index));
  svg.append(...lines, ...titles, mark, ...axes.flatMap((axis) => axis.parts));
  const order = () => {
    const values = columns[Math.max(result, 0)].values;
    return [...runs.keys()].filter((index) => ranges.holds(index))
      .sort((one, other) => (values[one] ?? Infinity) - (values[other] ?? Infinity));
  };
  const over = overRuns(svg, "scrolled over-lines", order, (x, y) => nearestLine(order(), at, x, y), show);
  return {
    figure: element("figure", { class: "whole" }, over),
    mark: (index) => mark.setAttribute("d", lines[index].getAttribute("d")),
    fade: () => {
      for (const axis of axes) axis.show();
      lines.forEach((line, index) => line.classList.toggle("out", !ranges.holds(index)));
    },
  };
}

function linesOf(runs, columns, scales, result, at) {
  const map = colours(COLOUR_MAPS.sequential.viridis);
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const [worst, span] = dark ? [0.35, 0.65] : [0, 0.9]; // of the map, as far as it is seen on the page
  return runs.map((_, index) => {
    const share = result < 0 ? 0.3 : scales[result].at(columns[result].values[index]);
    const best = result >= 0 && columns[result].best === "highest" ? share : 1 - share;
    const colour = Number.isNaN(share) ? BLANK : colourOf(map, worst + span * best);
    const known = at(index).filter(([, y]) => !Number.isNaN(y));
    const d = known.map(([x, y], step) => `${step ? "L" : "M"}${x} ${y.toFixed(1)}`).join("");
    return drawn("path", { d, class: "run-line", stroke: `rgb(${colour})` });
  });
}

/** An axis, its marks and its title, of which the end is kept if it is too long: keys begin alike. */
function titleOf(column, scale, x) {
  const { top, height } = BESIDE;
  const unit = column.unit ? `(${column.unit})` : "";
  const words = unit ? column.words.slice(0, -unit.length).trim() : column.words;
  const title = drawn("text", { x, y: 12, class: "middle" }, words.length > 20 ? `…${words.slice(-19)}` : words);
  title.append(drawn("title", {}, column.words));
  return [
    drawn("path", { d: `M${x} ${top}v${height}`, class: "tick" }),
    title,
    drawn("text", { x, y: 26, class: "middle" }, unit),
    ...scale.marks.map(([share, text]) => drawn("text", {
      x: x - 5, y: top + height * (1 - share) + 4, class: "end",
    }, text.length > 11 ? `${text.slice(0, 10)}…` : text)),
  ];
}

/** The run whose line is nearest to a place, at most 24 pixels away; −1 without one. */
function nearestLine(indices, at, x, y) {
  let [nearest, least] = [-1, 24];
  for (const index of indices) {
    const places = at(index);
    const next = Math.min(Math.max(places.findIndex(([across]) => across > x), 1), places.length - 1);
    const [before, after] = [places[next - 1], places[next]];
    const share = Math.min(Math.max((x - before[0]) / (after[0] - before[0]), 0), 1);
    const distance = Math.abs(before[1] * (1 - share) + after[1] * share - y);
    if (distance < least) [nearest, least] = [index, distance];
  }
  return nearest;
}
