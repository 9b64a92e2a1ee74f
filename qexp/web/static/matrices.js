// Matrices of several runs side by side: one kind of value in one scale of colours, the same place under the mouse in
// all of them, and the difference of two.
const SHOWN_AT_FIRST = 12;

function drawMatrices(place, matrices) {
  const all = matrices.map((matrix) => ({ ...matrix, on: false }));
  const known = () => all.filter((matrix) => matrix.plane);
  known().slice(0, SHOWN_AT_FIRST).forEach((matrix) => { matrix.on = true; });
  const kinds = kindsOf(known());
  if (!kinds.length) return;
  const main = Math.max(kinds.findIndex(isError), 0);
  const kind = menuOf("values", kinds.map(({ output, words, unit }) => `${output}: ${label(words, unit)}`), () => draw(), main);
  const titles = ["none", ...all.map((matrix) => matrix.title)];
  const [first, second] = ["difference of", "minus"].map((words) => menuOf(words, titles, () => draw()));
  const sizes = element("input", { type: "checkbox", onchange: () => draw() });
  const boxes = all.map((matrix) => boxOf(matrix, () => draw()));
  const grid = element("div", { class: "maps-row" });
  const scalePlace = element("div", { class: "choices" });
  const note = element("p", { class: "quiet" });
  const readout = readoutOf("div", "Point at a cell to read the values of all matrices there.");
  let maps = [];
  let scales = new Map();

  const point = (from, cell) => {
    const centres = from.plane.axes.map((axis, index) => axis.centres[Math.min(Math.max(cell[index], 0), axis.centres.length - 1)]);
    const lines = maps.map((shown) => {
      const at = sameAxes(from, shown) ? cellWith(shown.plane.axes, centres) : null;
      shown.map.mark(at);
      const value = at ? measured(shown.numbers[at[0] * shown.counts[1] + at[1]], shown.layer.unit) : "not there";
      shown.value.textContent = value;
      if (at) shown.at.splice(0, 2, ...at);
      return `${shown.title} ${value}`;
    });
    const where = from.plane.axes.map((axis, index) => `${axis.words} ${measured(centres[index], axis.unit)}`);
    readout.replaceChildren(where.join(", "), element("span", { class: "unseen", text: `: ${lines.join(", ")}` }));
  };

  const draw = () => {
    const { output, words, unit } = kinds[kind.menu.value];
    const shown = all.filter((matrix) => matrix.on && matrix.plane).flatMap((matrix) => {
      const layer = layerOf(matrix, output, words);
      return layer ? [{ ...matrix, layer, numbers: layer.numbers }] : [];
    });
    const [one, other] = [first, second].map(({ menu }) => shown.find((matrix) => matrix.title === titles[menu.value]));
    const difference = one && other && one !== other && differenceOfMaps(one, other, sizes.checked);
    const scale = shown.length ? commonScale(scales, `${output} ${words}`, shown, () => maps.forEach((map) => map.map.paint())) : null;
    scalePlace.replaceChildren(...(scale ? [scale.controls] : []));
    maps = [...shown, ...(difference ? [difference] : [])].map((matrix) => {
      const { plane, layer } = matrix;
      const axes = plane.axes.map((axis) => ({ ...axis, label: label(axis.words, axis.unit) }));
      const counts = axes.map((axis) => axis.centres.length);
      const at = counts.map((count) => Math.floor(count / 2));
      const own = matrix === difference ? scaleOf(layer, () => drawn_.map.paint()) : scale;
      const drawn_ = { ...matrix, counts, at, value: element("span", { class: "value", "aria-hidden": "true" }) };
      const move = (cell) => point(drawn_, cell);
      drawn_.map = mapOf({ layer: { ...layer, numbers: matrix.numbers }, axes, counts, at, move, scale: own, tested: () => matrix.plane.tested, words: `${matrix.title}, ${output}, ${words}` });
      const title = element("figcaption", {}, ...(matrix === difference ? [] : [swatchOf(GROUPS.of(matrix.run))]), matrix.title);
      const group = element("span", { class: "quiet group", text: matrix === difference || GROUPS.base.length < 2 ? "" : GROUPS.base[matrix.group] });
      const fixed = plane.fixed.length && !sameAxes(matrix, shown[0]) ? [element("p", { class: "quiet", text: `at ${plane.fixed.join(", ")}` })] : [];
      const inFull = `${matrix.title}: ${output}, ${label(words, unit)}`;
      drawn_.figure = element("figure", { "data-title": inFull }, title, group, drawn_.map.over, drawn_.value, ...(matrix === difference ? [own.controls] : fixed));
      return drawn_;
    });
    grid.replaceChildren(...maps.map((map) => map.figure));
    maps.forEach((map) => offerDrawing(map.figure));
    readout.replaceChildren();
    note.textContent = remarksOn(all, shown, difference, one && other && one !== other, output, label(words, unit));
  };
  place.append(
    element("div", { class: "choices" }, kind.whole, ...(all.length > 1 ? [first.whole, second.whole, element("label", {}, sizes, " of sizes, without signs")] : [])),
    element("div", { class: "choices of-runs" }, ...boxes), scalePlace, note, readout, grid);
  draw();
}

/** A check box for a matrix; the numbers of one that is not in the page are asked of the server. */
function boxOf(matrix, changed) {
  const served = document.body.dataset.prefix !== undefined;
  const box = element("input", { type: "checkbox", checked: matrix.on, disabled: !matrix.plane && !served, onchange: async () => {
    matrix.on = box.checked;
    if (matrix.on && !matrix.plane) {
      const where = `/runs/${encodeURIComponent(matrix.run)}/matrices/${encodeURIComponent(matrix.name)}`;
      matrix.plane = await fetched(address(where)).catch(() => { box.checked = false; return null; });
    }
    changed();
  } });
  return element("label", {}, box, " ", swatchOf(GROUPS.of(matrix.run)), matrix.title);
}

function kindsOf(matrices) {
  const layers = matrices.flatMap(({ plane }) => plane.layers);
  return [...new Map(layers.map((layer) => [`${layer.output}\n${layer.words}`, layer])).values()];
}

/** Whether a layer has the errors, which others follow from. */
function isError({ words }) {
  return words === "error" || words === "mean error";
}

/** A layer of a matrix with its numbers. */
function layerOf({ plane }, output, words) {
  const layers = plane.layers.filter((layer) => layer.output === output);
  const layer = layers.find((own) => own.words === words);
  if (layer && !layer.numbers) {
    const errors = layer.follows ? numbersOf(layers.find(isError)) : null;
    layer.numbers = numbersOf(layer, errors, plane.axes);
  }
  return layer;
}

function sameAxes(one, other) {
  const words = ({ plane }) => plane.axes.map((axis) => [axis.words, axis.unit]);
  return JSON.stringify(words(one)) === JSON.stringify(words(other));
}

function sameCells(one, other) {
  const cells = ({ plane }) => plane.axes.map((axis) => [axis.words, axis.unit, axis.ends, axis.centres.length]);
  return JSON.stringify([cells(one), one.plane.fixed]) === JSON.stringify([cells(other), other.plane.fixed]);
}

/** The cell that holds a place; null outside. */
function cellWith(axes, centres) {
  const cell = axes.map(({ ends, centres: own }, index) => Math.floor(((centres[index] - ends[0]) / (ends[1] - ends[0])) * own.length));
  return cell.every((index, axis) => index >= 0 && index < axes[axis].centres.length) ? cell : null;
}

function differenceOfMaps(one, other, sizes) {
  if (!sameCells(one, other)) return null;
  const of = sizes ? Math.abs : Number;
  const numbers = Float64Array.from(one.numbers, (value, index) => of(value) - of(other.numbers[index]));
  const finite = Array.from(numbers).filter(Number.isFinite).map(Math.abs).sort((a, b) => a - b);
  const most = finite[Math.floor(0.98 * (finite.length - 1))] || 1e-12;
  const bars = sizes ? "|" : "";
  const title = `${bars}${one.title}${bars} − ${bars}${other.title}${bars}`;
  return { ...one, title, numbers, layer: { ...one.layer, colours: "diverging", limits: [-most, most] } };
}

/** The scale of a kind of value: the widest of the matrices' own, until a reader changes it. */
function commonScale(scales, key, shown, changed) {
  const lows = shown.map(({ layer }) => layer.limits[0]);
  const highs = shown.map(({ layer }) => layer.limits[1]);
  const limits = [Math.min(...lows), Math.max(...highs)];
  const known = `${key} ${limits}`;
  if (!scales.has(known)) scales.set(known, scaleOf({ ...shown[0].layer, limits }, changed));
  return scales.get(known);
}

function remarksOn(all, shown, difference, wanted, output, words) {
  const parts = [`${output}: ${words}; colours mean the same in all maps.`];
  const [first] = shown;
  const outlined = shown.map(({ plane }) => plane.outlined).sort((one, other) => other.length - one.length)[0];
  if (outlined) parts.push(`${outlined[0].toUpperCase()}${outlined.slice(1)}.`);
  const fixed = first?.plane.fixed ?? [];
  if (fixed.length) parts.push(`At ${fixed.join(", ")}.`);
  if (first?.plane.blank) parts.push(`Blank: ${first.plane.blank}.`);
  const others = shown.filter((matrix) => !sameCells(matrix, first)).map((matrix) => matrix.title);
  if (others.length) parts.push(`Over other cells or at other values than ${first.title}, each on its own axes: ${others.join(", ")}.`);
  if (wanted && !difference) parts.push("These two have different cells: no difference is drawn.");
  const absent = all.filter((matrix) => !matrix.plane).length;
  if (absent && document.body.dataset.prefix === undefined) {
    parts.push(`This file has the numbers of ${all.length - absent} of ${all.length} matrices; a report of fewer runs has all of theirs.`);
  }
  return parts.join(" ");
}

everyOne("matrices", drawMatrices);
