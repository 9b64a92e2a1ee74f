"use strict";
// Curves over epochs, or over any other axis, by uPlot.
const CURVE_HEIGHT = 260;
const MOST_NAMED = 6;
const WHOLE_STEPS = [1, 10, 100, 1000, 10000].flatMap((power) => [1, 2, 5].map((one) => one * power));

/**
 * Curves in a figure: `curves.series` share `curves.x`; each has words, values, and may be dashed or faint, or lie in a
 * band. Of a few curves a legend shows the values under the mouse, of many a line names the nearest one.
 */
function lines(figure, curves) {
  const style = getComputedStyle(figure);
  const ink = style.getPropertyValue("--ink").trim() || "#222";
  const faint = style.getPropertyValue("--line").trim() || "#ddd";
  const values = (_, splits) => splits.map((value) => (value === null ? "" : digits(value)));
  const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint }, values, font: "12px system-ui" };
  const positive = curves.series.every((one) => one.values.every((value) => value === null || value > 0));
  const logarithmic = Boolean(curves.logarithmic) && positive;
  const many = curves.series.length > MOST_NAMED;
  const readout = readoutOf("p", "Point at a curve to read its values.");
  const say = (plot) => { if (many) readout.textContent = wordsOfNearest(plot, curves); };
  const count = curves.series.length;
  const edges = edgesOf(curves);
  const options = {
    width: figure.clientWidth || 480,
    height: CURVE_HEIGHT,
    scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : {} },
    axes: [
      { ...axis, label: curves.words, labelFont: "12px system-ui", ...(curves.whole ? { incrs: WHOLE_STEPS } : {}) },
      { ...axis, label: curves.unit, labelFont: "12px system-ui", size: 64 },
    ],
    series: [{ label: curves.words, value: (_, value) => (value === null ? "" : digits(value)) }, ...curves.series.map((one, index) => ({
      label: one.words,
      stroke: LINE_COLOURS[(one.colour ?? index) % LINE_COLOURS.length] + (one.faint ? "88" : ""),
      dash: one.dashed ? [5, 4] : undefined,
      width: one.faint ? 1 : 1.6,
      points: { show: curves.x.length < 3 },
      value: (_, value, __, at) => (at === null ? "" : measured(value, curves.unit)),
    })), ...edges.map(() => ({ class: "edge", width: 0, points: { show: false } }))],
    bands: edges.filter((_, index) => index % 2 === 0).map(({ of }, index) => ({
      series: [1 + count + 2 * index, 2 + count + 2 * index],
      fill: `${LINE_COLOURS[(curves.series[of].colour ?? of) % LINE_COLOURS.length]}2e`,
    })),
    legend: { show: !many, live: true, markers: { dash: (_, series) => (curves.series[series - 1]?.dashed ? "dashed" : "solid") } },
    cursor: { focus: { prox: 80, dist: (_, series, __, at, mouse) => (series > count ? Infinity : at - mouse) } },
    focus: { alpha: 0.25 },
    hooks: { setCursor: [say], setSeries: [say] },
  };
  const data = [curves.x, ...curves.series.map((one) => one.values), ...edges.map((one) => one.values)];
  const plot = new uPlot(options, data, figure);
  if (many) figure.append(readout);
  byKeys(figure, plot, curves);
  new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: CURVE_HEIGHT })).observe(figure);
  return plot;
}

/** The upper and the lower edges of bands, with the number of the series that lies in each. */
function edgesOf(curves) {
  return curves.series.flatMap(({ band }, of) => (band ? [{ of, values: band[1] }, { of, values: band[0] }] : []));
}

function wordsOfNearest(plot, curves) {
  const [series, at] = [plot.series.findIndex((one, index) => index > 0 && one._focus), plot.cursor.idx];
  if (series < 1 || at === null || at === undefined) return "";
  const { words, values } = curves.series[series - 1];
  return `${words}: ${curves.words} ${digits(curves.x[at])}, ${measured(values[at], curves.unit)}`;
}

/** Left and right arrow keys move along the axis, up and down to another curve. */
function byKeys(figure, plot, curves) {
  figure.tabIndex = 0;
  figure.setAttribute("role", "group");
  figure.setAttribute("aria-label", `${curves.title ?? curves.words}: left and right arrow keys move along the axis, up and down to another curve`);
  let [at, series] = [-1, 1];
  figure.addEventListener("keydown", (event) => {
    const [along, other] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (along === undefined) return;
    event.preventDefault();
    at = Math.min(Math.max(at + along, 0), curves.x.length - 1);
    series = 1 + ((series - 1 + other + curves.series.length) % curves.series.length);
    const value = plot.data[series][at];
    const top = value === null || value === undefined ? 0 : plot.valToPos(value, "y");
    plot.setCursor({ left: plot.valToPos(curves.x[at], "x"), top });
    plot.setSeries(series, { focus: true });
  });
}

everyOne("curves", (place, panels) => {
  for (const panel of panels) {
    const figure = element("figure", { class: "curves" }, element("figcaption", { text: panel.title }));
    place.append(figure);
    lines(figure, panel);
  }
  const groups = panels[0]?.groups ?? [];
  if (groups.length > 1) place.append(keyOf(groups));
});

/** The colours of groups. */
function keyOf(groups) {
  return element("ul", { class: "key" }, ...groups.map((name, index) => {
    return element("li", {}, swatchOf(index), name);
  }));
}
