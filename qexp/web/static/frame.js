// What drawings share: elements, numbers in words, and axes with ticks at round numbers.
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  setAttributes(made, attributes);
  if (text !== undefined) made.textContent = text;
  return made;
}

function setAttributes(made, attributes) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
}

/** A number with four significant digits, as the tables of qexp write it: `−2.31 × 10⁻⁵`. */
function digits(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "none";
  const size = Math.abs(value);
  const [text, power] = value && (size < 1e-4 || size >= 1e6) ? value.toExponential(3).split("e") : [value.toPrecision(4)];
  return `${Number(text)}`.replace("-", "−") + (power ? ` × 10${superscript(Number(power))}` : "");
}

function superscript(power) {
  return String(power).replaceAll(/./g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]));
}

/** Numbers written with the two digits of their uncertainty that are significant, as in the tables of qexp. */
function rounding(value, uncertainty) {
  const order = (number) => Number(number.toExponential(1).split("e")[1]);
  const largest = Math.max(Math.abs(value), uncertainty);
  const exponent = largest >= 1e-4 && largest < 1e6 ? 0 : order(largest);
  const decimals = 1 - order(uncertainty) + exponent;
  const bare = (number) => {
    const scaled = number / 10 ** exponent;
    const text = decimals < 0 ? String(Math.round(scaled * 10 ** decimals) / 10 ** decimals) : scaled.toFixed(Math.min(decimals, 100));
    return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
  };
  return { bare, power: exponent ? ` × 10${superscript(exponent)}` : "" };
}

/** A mean and its deviation. */
function pairOf(mean, deviation) {
  if (!(deviation > 0 && Number.isFinite(deviation))) return digits(mean);
  const { bare, power } = rounding(mean, deviation);
  const pair = `${bare(mean)} ± ${bare(deviation)}`;
  return power ? `(${pair})${power}` : pair;
}

/** An interval, with the digits that its half or the deviation in it leaves, whichever is finer. */
function intervalOf([low, high], deviation = Infinity) {
  if (!(high > low && Number.isFinite(high - low))) return `[${digits(low)}, ${digits(high)}]`;
  const { bare, power } = rounding((low + high) / 2, Math.min((high - low) / 2, deviation || Infinity));
  return `[${bare(low)}${power}, ${bare(high)}${power}]`;
}

function measured(value, unit) {
  const times = /^[0-9]/.test(unit) ? " ×" : "";
  return Number.isFinite(value) && unit ? `${digits(value)}${times} ${unit}` : digits(value);
}

/** Round numbers between two ends; of angles in degrees, parts of a turn. */
function ticks(low, high, count, turn = false) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = turn && rough >= 10 ? [15, 30, 45, 90, 180] : [1, 2, 2.5, 5, 10].map((factor) => factor * power);
  const step = steps.find((size) => size >= rough) || steps[steps.length - 1];
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9 * step; index += 1) {
    found.push(Number((index * step).toPrecision(12)));
  }
  return found;
}

/** Ticks of a logarithmic axis at 1, 2, 5 times powers of ten, or at powers alone; round numbers where hardly one of them lies. */
function ticksOfLogarithm(low, high) {
  const decades = Math.log10(high / low);
  const factors = decades > 3 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of factors) found.push(Number(`${factor}e${power}`));
  }
  const inside = found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
  const each = Math.ceil(inside.length / 8);
  return inside.length < 3 ? ticks(low, high, 4).filter((value) => value > 0) : inside.filter((_, index) => index % each === 0);
}

/** A scale fitted to values: places from 0 to 1, and marks; it does not reach below what is possible. */
function scaleBetween(values, logarithmic, least = null) {
  const of = logarithmic ? Math.log10 : Number;
  const known = values.filter((value) => Number.isFinite(value) && (!logarithmic || value > 0)).map(of);
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const room = 0.05 * (high - low) || 0.05 * Math.abs(high) || 0.5;
  [low, high] = [low - room, high + room];
  if (!logarithmic && least !== null) low = Math.max(low, least - 0.2 * room);
  const back = logarithmic ? (value) => 10 ** value : Number;
  const at = (value) => {
    if (value === null || value === undefined) return NaN;
    return logarithmic && value <= 0 ? 0 : (of(value) - low) / (high - low);
  };
  const marks = (count) => (logarithmic ? ticksOfLogarithm(back(low), back(high)) : ticks(low, high, count));
  return { at, marks, back: (share) => back(low + share * (high - low)) };
}

/** Axes around a box of `width` × `height`, with functions from values to places in the box. */
function frame(axes, width, height, margin) {
  const whole = drawn("svg", {
    viewBox: `0 0 ${width + margin.left + margin.right} ${height + margin.top + margin.bottom}`, class: "frame",
    "aria-hidden": "true",
  });
  const box = drawn("g", { transform: `translate(${margin.left} ${margin.top})` });
  const [x, y] = axes;
  const across = (value) => (width * (value - x.ends[0])) / (x.ends[1] - x.ends[0]);
  const up = (value) => height - (height * (value - y.ends[0])) / (y.ends[1] - y.ends[0]);
  for (const value of ticks(...x.ends, width / 60, x.turn)) {
    box.append(drawn("path", { d: `M${across(value)} ${height}v4`, class: "tick" }));
    box.append(drawn("text", { x: across(value), y: height + 16, class: "tick-words middle" }, digits(value)));
  }
  for (const value of ticks(...y.ends, height / 45, y.turn)) {
    box.append(drawn("path", { d: `M0 ${up(value)}h-4`, class: "tick" }));
    box.append(drawn("text", { x: -7, y: up(value) + 4, class: "tick-words end" }, digits(value)));
  }
  const middle = `translate(${-margin.left + 12} ${height / 2}) rotate(-90)`;
  box.append(drawn("text", { x: width / 2, y: height + 34, class: "axis-words middle" }, x.label));
  box.append(drawn("text", { transform: middle, class: "axis-words middle" }, y.label));
  box.append(drawn("rect", { width, height, class: "box" }));
  whole.append(box);
  return { whole, box, across, up };
}

function label(words, unit) {
  return unit ? `${words} (${unit})` : words;
}

/** Where a drawing says what is under the mouse; before that, a hint. */
function readoutOf(name, hint) {
  return element(name, { class: "readout", role: "status", "aria-live": "polite", "data-hint": hint });
}

const MENUS = new Map();

/** A menu of texts in a label; its value is the number of the chosen one, which stands in the address of the page. */
function menuOf(words, texts, changed, chosen = 0) {
  MENUS.set(words, (MENUS.get(words) ?? 0) + 1);
  const name = MENUS.get(words) > 1 ? `${words} ${MENUS.get(words)}` : words; // several drawings have a menu of metrics
  const onchange = () => {
    toAddress(name, menu.value === String(chosen) ? "" : texts[menu.value]);
    changed();
  };
  const menu = element("select", { onchange }, ...texts.map((text, value) => element("option", { text, value })));
  const given = texts.indexOf(fromAddress(name));
  menu.value = given < 0 ? chosen : given;
  return { menu, whole: element("label", {}, `${words} `, menu) };
}

/** A slider in a label, and beside it what it is at. */
function sliderOf(words, given) {
  const [slider, value] = [element("input", { type: "range", min: 0, ...given }), element("output")];
  return { slider, value, whole: element("label", { class: "slider" }, words, slider, value) };
}

/** What was chosen on a page stands in its address, so that a link shows the same. */
function fromAddress(name) {
  return new URLSearchParams(location.search).get(name);
}

function toAddress(name, value) {
  const query = new URLSearchParams(location.search);
  if (value) query.set(name, value);
  else query.delete(name);
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}

function everyOne(kind, draw) {
  for (const place of document.querySelectorAll(`[data-draw="${kind}"]`)) {
    draw(place, JSON.parse(place.querySelector('script[type="application/json"]').textContent));
  }
}

/** The colour of a group, before its name. */
function swatchOf(group) {
  const swatch = element("span", { class: "swatch" });
  swatch.style.background = colourOfGroup(group);
  return swatch;
}
