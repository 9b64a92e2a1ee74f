// Maps of a matrix: the same cell under the mouse in all of them, its numbers in words, colour scales to change.
const SIDE = 320;
const MARGIN = { left: 56, right: 8, top: 6, bottom: 42 };
const BESIDE_MAP = { ...MARGIN, right: 72 };
const BAR = { x: SIDE + 10, width: 12, steps: 64 };

function drawMatrix(place, matrix) {
  const axes = matrix.axes.slice(0, 2).map((axis) => ({ ...axis, label: label(axis.words, axis.unit) }));
  if (axes.length < 2) return drawLines(place, matrix);
  const counts = matrix.axes.map((axis) => axis.centres.length);
  for (const layer of matrix.layers) layer.numbers = numbersOf(layer);
  const at = counts.map((count) => Math.floor(count / 2));
  const readout = readoutOf("div", "Point at a cell to read its values.");
  const grid = element("div", { class: "maps" });
  const maps = [];
  const tested = () => matrix.tested && matrix.axes.slice(2).every((axis, index) => isHeldOut(axis, at[index + 2]));
  let pointed = false;
  const show = () => {
    if (!pointed) return;
    for (const map of maps) map.mark(at);
    readout.replaceChildren(...wordsOfCell(matrix, counts, at));
  };
  const move = (cell) => {
    pointed = true;
    cell.forEach((index, axis) => { at[axis] = Math.min(Math.max(index, 0), counts[axis] - 1); });
    show();
  };
  for (const layers of byOutput(matrix)) {
    const row = element("div", { class: "maps-row" });
    for (const layer of layers) {
      const scale = scaleOf(layer, () => map.paint());
      const title = element("figcaption", { text: `${layer.output}: ${label(layer.words, layer.unit)}` });
      const map = mapOf({ layer, axes, counts, at, move, scale, tested, words: `${layer.output}, ${layer.words}` });
      maps.push(map);
      row.append(element("figure", {}, title, map.over, scale.controls));
    }
    grid.append(row);
  }
  place.append(...slidersOf(matrix, counts, at, () => { for (const map of maps) map.paint(); show(); }), grid, readout);
}

/** The layers of each output. */
function byOutput({ layers }) {
  return [...new Set(layers.map(({ output }) => output))].map((output) => layers.filter((layer) => layer.output === output));
}

/** The numbers of a layer, in the order of the axes, the last one fastest; some follow from its errors, see `drawings.py`. */
function numbersOf(layer, errors = null, axes = []) {
  if (layer.follows) {
    const [count, after] = [axes[layer.axis].centres.length, axes.slice(layer.axis + 1).reduce((size, axis) => size * axis.centres.length, 1)];
    const truth = (index) => axes[layer.axis].centres[Math.floor(index / after) % count];
    const from = layer.follows === "estimate" ? (error, value) => value + error : (error, value) => (100 * error) / Math.abs(value);
    return Float64Array.from(errors, (error, index) => from(error, truth(index)));
  }
  const { buffer } = Uint8Array.from(atob(layer.values), (letter) => letter.charCodeAt(0));
  return layer.single ? new Float32Array(buffer) : new Float64Array(buffer);
}

function numberIn(counts, at) {
  return at.reduce((number, index, axis) => number * counts[axis] + index, 0);
}

function slidersOf(matrix, counts, at, changed) {
  return matrix.axes.slice(2).map((axis, index) => {
    const tell = () => { value.textContent = measured(axis.centres[at[index + 2]], axis.unit); };
    const oninput = () => { at[index + 2] = Number(slider.value); tell(); changed(); };
    const { slider, value, whole } = sliderOf(axis.words, { max: counts[index + 2] - 1, value: at[index + 2], oninput });
    tell();
    return whole;
  });
}

/** A map of a layer in the colours of a scale; `move` is told which cell of the first two axes is pointed at, `tested` says
 * whether test samples have the values of all other variables. */
function mapOf({ layer, axes, counts, at, move, scale, tested, words }) {
  const [columns, rows] = counts;
  const canvas = element("canvas", { width: columns, height: rows });
  const { whole, box, across, up } = frame(axes, SIDE, SIDE, BESIDE_MAP);
  const marks = drawn("g", {});
  const cross = drawn("path", { class: "cross" });
  const bar = drawn("g", { transform: `translate(${BAR.x} 0)` });
  box.append(marks, cross, bar);
  const paint = () => {
    marks.replaceChildren(...heldOut(axes, across, up, tested()));
    bar.replaceChildren(...barOf(scale));
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const [low, high] = scale.limits();
    const map = scale.map();
    for (let column = 0; column < columns; column += 1) {
      for (let row = 0; row < rows; row += 1) {
        const value = layer.numbers[numberIn(counts, [column, row, ...at.slice(2)])];
        const colour = colourOf(map, shareOf(value, low, high, scale.logarithmic));
        image.data.set([...colour, 255], 4 * ((rows - 1 - row) * columns + column));
      }
    }
    context.putImageData(image, 0, 0);
  };
  const over = element("div", {
    class: "map", tabindex: 0, role: "group",
    "aria-label": `${words}: arrow keys move over the cells`,
    onfocus: () => move([...at]),
    onpointermove: (event) => move(cellAt(event, canvas, counts)),
    onpointerdown: (event) => move(cellAt(event, canvas, counts)),
    onkeydown: (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const far = event.shiftKey ? 10 : 1;
      move([at[0] + far * step[0], at[1] + far * step[1]]);
    },
  }, canvas, whole);
  paint();
  return {
    over,
    paint,
    mark: (cell) => {
      const [x, y] = cell ? [across(axes[0].centres[cell[0]]), up(axes[1].centres[cell[1]])] : [0, 0];
      cross.setAttribute("d", cell ? `M${x} 0V${SIDE}M0 ${y}H${SIDE}` : "");
    },
  };
}

/** How far a value is on the way from low to high, along the logarithm for ratios. */
function shareOf(value, low, high, logarithmic) {
  return logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

function cellAt(event, canvas, counts) {
  const seen = canvas.getBoundingClientRect();
  const [across, down] = [(event.clientX - seen.left) / seen.width, (event.clientY - seen.top) / seen.height];
  return [Math.floor(across * counts[0]), Math.floor((1 - down) * counts[1])];
}

/** Whether the value of a cell on an axis is one that test samples have. */
function isHeldOut(axis, index) {
  const value = axis.centres[index];
  return !axis.bands.length || axis.bands.some(([low, high]) => low <= value && value <= high);
}

/** Dashed lines at both ends of the bands that training lacks, and boxes around the values of test samples. */
function heldOut(axes, across, up, tested) {
  const bands = axes.map((axis) => axis.bands);
  const paths = bands.flatMap((of, index) => [...new Set(of.flat())].filter((end) => !axes[index].ends.includes(end))
    .map((end) => (index ? `M0 ${up(end)}H${SIDE}` : `M${across(end)} 0V${SIDE}`)));
  const made = paths.flatMap((d) => [drawn("path", { d, class: "held-out around" }), drawn("path", { d, class: "held-out band" })]);
  if (!tested || !bands.flat().length) return made;
  const [x, y] = bands.map((of, index) => (of.length ? of : [axes[index].ends]));
  for (const between of x) {
    for (const upwards of y) {
      const [[left, right], [bottom, top]] = [between.map(across), upwards.map(up)];
      const size = { x: left, y: top, width: right - left, height: bottom - top };
      made.push(drawn("rect", { ...size, class: "held-out around" }), drawn("rect", { ...size, class: "held-out tests" }));
    }
  }
  return made;
}

/** Colours and their values, beside a map. */
function barOf(scale) {
  const { logarithmic } = scale;
  const [low, high] = scale.limits();
  const map = scale.map();
  const { width, steps } = BAR;
  const step = SIDE / steps;
  const colour = (index) => `rgb(${colourOf(map, (index + 0.5) / steps)})`;
  const boxes = Array.from({ length: steps }, (_, index) => drawn("rect", {
    y: SIDE - (index + 1) * step, width, height: index ? step + 0.5 : step, fill: colour(index),
  }));
  const values = logarithmic
    ? [0, 0.25, 0.5, 0.75, 1].map((share) => Number((low * (high / low) ** share).toPrecision(2)))
    : ticks(low, high, SIDE / 55);
  const marks = values.flatMap((value) => {
    const y = SIDE * (1 - shareOf(value, low, high, logarithmic));
    return y < -1 || y > SIDE + 1 ? [] : [
      drawn("path", { d: `M${width} ${y}h4`, class: "tick" }),
      drawn("text", { x: width + 7, y: y + 4, class: "tick-words" }, digits(value)),
    ];
  });
  return [...boxes, drawn("rect", { width, height: SIDE, class: "box" }), ...marks];
}

/** The ends of a scale of colours, which a reader can change, and the colours themselves. */
function scaleOf(layer, changed) {
  const [maps, logarithmic] = [COLOUR_MAPS[layer.colours], layer.colours === "ratio"];
  const choice = element("select", { "aria-label": `colours of ${layer.words}` },
    ...Object.keys(maps).map((name) => element("option", { text: name, value: name })));
  const ends = layer.limits.map((end, index) => element("input", {
    type: "number", step: "any", value: Number(end.toPrecision(3)), "aria-label": index ? "highest" : "lowest",
  }));
  const limits = () => {
    const [low, high] = ends.map((end) => Number(end.value));
    return high > low && (low > 0 || !logarithmic) ? [low, high] : layer.limits;
  };
  for (const input of [choice, ...ends]) input.addEventListener("change", changed);
  const controls = element("details", { class: "scale" }, element("summary", { text: "colour scale" }),
    element("div", {}, ends[0], " to ", ends[1], choice));
  return { controls, limits, logarithmic, map: () => colours(maps[choice.value]) };
}

function wordsOfCell(matrix, counts, at) {
  const where = matrix.axes.map((axis, index) => `${axis.words} ${measured(axis.centres[at[index]], axis.unit)}`);
  const number = numberIn(counts, at);
  const lines = byOutput(matrix).map((layers) => {
    const values = layers.map((layer) => `${layer.words} ${measured(layer.numbers[number], layer.unit)}`);
    return element("p", {}, element("b", { text: layers[0].output }), `: ${values.join(", ")}`);
  });
  return [element("p", { text: `${where.join(", ")} (cell ${at.join(", ")})` }), ...lines];
}

/** A matrix over one axis: lines, by uPlot. */
function drawLines(place, matrix) {
  const [axis] = matrix.axes;
  for (const layer of matrix.layers) {
    const figure = element("figure", {}, element("figcaption", { text: `${layer.output}: ${label(layer.words, layer.unit)}` }));
    place.append(figure);
    const series = [{ words: layer.words, values: Array.from(numbersOf(layer)) }];
    lines(figure, { x: axis.centres, words: label(axis.words, axis.unit), unit: layer.unit, series });
  }
}

everyOne("matrix", drawMatrix);
