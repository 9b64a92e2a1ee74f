// A line for each run over one axis for each column of a sweep, in the colour of its group.
const BESIDE = { height: 260, top: 34, bottom: 22, left: 92, right: 96, closest: 130, farthest: 300 };

/** Of a drawing with so many axes, as close together as can be. */
const widthOfAxes = (count) => BESIDE.left + BESIDE.right + BESIDE.closest * (count - 1);

function parallelOf({ runs, columns, scaleOf, ranges, result, colour, shows, width, show }) {
  const { height, top, left, right } = BESIDE;
  const apart = Math.min(Math.max((width - left - right) / (columns.length - 1), BESIDE.closest), BESIDE.farthest);
  const whole = left + right + apart * (columns.length - 1);
  const svg = drawn("svg", {
    viewBox: `0 0 ${whole} ${top + height + BESIDE.bottom}`, width: whole, class: "frame beside", "aria-hidden": "true",
  });
  const at = (index) => columns.map((column, axis) => [left + apart * axis, top + height * (1 - scaleOf(axis).at(column.values[index]))]);
  const share = (event) => {
    const seen = svg.getBoundingClientRect();
    const y = (event.clientY - seen.top) * (svg.viewBox.baseVal.height / seen.height);
    return Math.min(Math.max(1 - (y - top) / height, 0), 1);
  };
  const mark = drawn("path", { class: "line-shown" });
  const axes = columns.map((_, index) => axisOf(ranges, index, { x: left + apart * index, top, height }, share));
  let lines = [];
  const fade = () => {
    for (const axis of axes) axis.show();
    lines.forEach((line, index) => line.classList.toggle("out", !ranges.holds(index)));
  };
  const paint = () => {
    lines = runs.map((_, index) => {
      const known = at(index).filter(([, y]) => !Number.isNaN(y));
      const d = shows(index) ? known.map(([x, y], step) => `${step ? "L" : "M"}${x} ${y.toFixed(1)}`).join("") : "";
      return drawn("path", { d, class: "run-line", stroke: colour(index) });
    });
    const named = columns.flatMap((column, index) => axisWithTitle(column, scaleOf(index), left + apart * index));
    mark.setAttribute("d", "");
    svg.replaceChildren(...lines, mark, ...named, ...axes.flatMap((axis) => axis.parts));
    fade();
  };
  const order = () => {
    const { values } = columns[result];
    return [...runs.keys()].filter((index) => ranges.holds(index) && shows(index))
      .sort((one, other) => (values[one] ?? Infinity) - (values[other] ?? Infinity));
  };
  const over = overRuns(svg, "scrolled over-lines", order, (x, y) => nearestLine(order(), at, x, y), show);
  paint();
  return {
    figure: element("figure", {}, element("figcaption", { text: "All values of each run" }), over), paint, fade,
    mark: (index) => mark.setAttribute("d", lines[index].getAttribute("d")),
  };
}

/** An axis with its marks and its title, of which the end is kept if it is too long: keys begin alike. */
function axisWithTitle(column, scale, x) {
  const { top, height } = BESIDE;
  const { words, unit } = column;
  const title = drawn("text", { x, y: 12, class: "middle" }, words.length > 20 ? `…${words.slice(-19)}` : words);
  title.append(drawn("title", {}, column.title));
  const how = [column.log ? "log" : "", column.flipped ? "flipped" : ""].filter(Boolean).join(", ");
  const marks = scale.marks.flatMap(([share, full]) => {
    const [text, y] = [full.length > 13 ? `${full.slice(0, 12)}…` : full, top + height * (1 - share)];
    const wide = 6.6 * text.length + 4;
    // On paper of their own, which no line crosses.
    return [
      drawn("path", { d: `M${x - 4} ${y}h4`, class: "tick" }),
      drawn("rect", { x: x - 6 - wide, y: y - 8, width: wide, height: 16, rx: 3, class: "label-paper" }),
      drawn("text", { x: x - 8, y: y + 4, class: "end" }, text),
    ];
  });
  return [
    drawn("path", { d: `M${x} ${top}v${height}`, class: "tick" }), title, drawn("text", { x, y: 26, class: "middle" }, unit && `(${unit})`),
    ...marks, drawn("text", { x, y: top + height + 17, class: "middle quiet-words" }, how),
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
