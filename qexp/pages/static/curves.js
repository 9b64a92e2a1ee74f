"use strict";
// Curves over epochs, or over any other axis, by uPlot.
const LINE_COLOURS = ["#2a86c9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f"];
const CURVE_HEIGHT = 260;
const WHOLE_STEPS = [1, 10, 100, 1000, 10000].flatMap((power) => [1, 2, 5].map((one) => one * power));

/** Curves in a figure: `curves.series` share `curves.x`; each has words, values, and may be dashed. */
function lines(figure, curves) {
  const style = getComputedStyle(figure);
  const ink = style.getPropertyValue("--ink").trim() || "#222";
  const faint = style.getPropertyValue("--line").trim() || "#ddd";
  const values = (_, splits) => splits.map((value) => (value === null ? "" : digits(value)));
  const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint }, values, font: "12px system-ui" };
  const positive = curves.series.every((one) => one.values.every((value) => value === null || value > 0));
  const logarithmic = Boolean(curves.logarithmic) && positive;
  const options = {
    width: figure.clientWidth || 480,
    height: CURVE_HEIGHT,
    scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : {} },
    axes: [
      { ...axis, label: curves.words, labelFont: "12px system-ui", ...(curves.whole ? { incrs: WHOLE_STEPS } : {}) },
      { ...axis, label: curves.unit, labelFont: "12px system-ui", size: 64 },
    ],
    series: [
      { label: curves.words, value: (_, value) => digits(value) },
      ...curves.series.map((one, index) => ({
        label: one.words,
        stroke: LINE_COLOURS[(one.colour ?? index) % LINE_COLOURS.length],
        dash: one.dashed ? [5, 4] : undefined,
        width: 1.5,
        points: { show: curves.x.length < 3 },
        value: (_, value) => measured(value, curves.unit),
      })),
    ],
    legend: { live: true },
    cursor: { focus: { prox: 24 } },
    focus: { alpha: 0.3 },
  };
  const plot = new uPlot(options, [curves.x, ...curves.series.map((one) => one.values)], figure);
  new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: CURVE_HEIGHT })).observe(figure);
  return plot;
}

everyOne("curves", (place, panels) => {
  for (const panel of panels) {
    const figure = element("figure", { class: "curves" }, element("figcaption", { text: panel.title }));
    place.append(figure);
    lines(figure, panel);
  }
});
