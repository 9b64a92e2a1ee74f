// Curves over epochs, or over any other axis, by uPlot.
const CURVE_HEIGHT = 260;
const SYSTEM_HEIGHT = 190;
const MOST_NAMED = 6;
const WHOLE_STEPS = [1, 10, 100, 1000, 10000].flatMap((power) => [1, 2, 5].map((factor) => factor * power));

/**
 * Curves in a figure: `curves.series` share `curves.x`; each has words, values, and may be dashed or faint, or lie in a
 * band. Of a few curves a key below shows the values under the mouse, at rest the last ones; of many a line names the
 * nearest. The axis of values is logarithmic if they are positive and `logarithmic` is asked for.
 */
function lines(figure, curves, logarithmic = false) {
  const style = getComputedStyle(figure);
  const ink = style.getPropertyValue("--ink").trim() || "#222";
  const faint = style.getPropertyValue("--line").trim() || "#ddd";
  const values = (_, splits) => splits.map((value) => (value === null ? "" : digits(value)));
  const font = "12px system-ui";
  const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint }, values, font, labelFont: font };
  const positive = curves.series.every(({ values: own }) => own.every((value) => value === null || value > 0));
  const whole = curves.x.every(Number.isInteger);
  const many = (curves.count ?? curves.series.length) > MOST_NAMED;
  const key = many ? readoutOf("p", "Point at a curve to read its values.") : keyOfCurves(curves);
  const say = (plot) => (many ? sayNearest(key, plot, curves) : key.say(plot.cursor.idx, plot));
  const count = curves.series.length;
  const edges = edgesOf(curves);
  const behind = behindOf(curves);
  // Fitted to the data, not to whole powers of ten.
  const fitted = { distr: 3, range: (_, low, high) => (low === null ? [0.1, 1] : [low / 1.08, high * 1.08]) };
  const options = {
    width: figure.clientWidth || 480,
    height: curves.height ?? CURVE_HEIGHT,
    scales: { x: { time: false }, y: logarithmic && positive ? fitted : {} },
    axes: [
      { ...axis, label: curves.words, ...(whole ? { incrs: WHOLE_STEPS } : {}) },
      {
        ...axis, label: curves.unit || " ", size: 64,
        ...(logarithmic && positive ? { splits: (_, __, low, high) => ticksOfLogarithm(low, high), filter: (_, splits) => splits } : {}),
      },
    ],
    series: [{}, ...curves.series.map((curve, index) => ({
      stroke: colourOfCurve(curve, index) + (curve.faint ? "88" : ""),
      dash: curve.dashed ? [5, 4] : undefined,
      width: curve.faint ? 1 : curve.thick ? 2.4 : 1.6,
      spanGaps: Boolean(curve.sparse),
      points: { show: curves.x.length < 3 },
    })), ...edges.map(() => ({ width: 0, points: { show: false } })), ...behind.map(({ of }) => ({
      stroke: `${colourOfCurve(curves.series[of], of)}50`, width: 1, spanGaps: Boolean(curves.series[of].sparse), points: { show: false },
    }))],
    bands: edges.filter((_, index) => index % 2 === 0).map(({ of }, index) => ({
      series: [1 + count + 2 * index, 2 + count + 2 * index],
      fill: `${colourOfCurve(curves.series[of], of)}2e`,
    })),
    legend: { show: false },
    cursor: { focus: { prox: 80, dist: (_, series, __, at, mouse) => (series > count ? Infinity : at - mouse) } },
    focus: { alpha: 0.25 },
    hooks: { setCursor: [say], setSeries: [say], setData: [say] },
  };
  const plot = new uPlot(options, dataOf(curves), figure);
  figure.append(many ? key : key.whole);
  if (!many) key.of(plot);
  byKeys(figure, plot, curves);
  const resized = new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: options.height }));
  resized.observe(figure);
  return plot;
}

/** The few curves of a panel with their colours; a click hides one. Every value has its room, so that nothing moves. */
function keyOfCurves(curves) {
  const where = element("span", { class: "where" });
  const entries = curves.series.map((curve, index) => {
    const value = element("span", { class: "at" });
    const mark = swatchOf(0);
    const colour = colourOfCurve(curve, index);
    mark.style.background = curve.dashed ? `repeating-linear-gradient(90deg, ${colour} 0 5px, transparent 5px 9px)` : colour;
    return { value, button: element("button", { type: "button", "aria-pressed": "true", title: "show or hide", "data-words": curve.words, "data-colour": colour }, mark, curve.words, " ", value) };
  });
  const whole = element("div", { class: "key of-curves" }, where, ...entries.map(({ button }) => button));
  const say = (at, plot) => {
    const x = plot.data[0];
    const pointed = at !== null && at !== undefined;
    const words = pointed ? `${curves.words} ${digits(x[at])}:` : x.length ? "at the end:" : "";
    where.textContent = words && curves.smoothing ? `smoothed, ${words}` : words;
    entries.forEach(({ value }, series) => {
      const own = plot.data[series + 1];
      const index = pointed ? at : own.findLastIndex((known) => known !== null && known !== undefined);
      value.textContent = own[index] === null || own[index] === undefined ? "–" : digits(own[index]);
    });
  };
  const of = (plot) => {
    say(null, plot);
    entries.forEach(({ button }, series) => button.addEventListener("click", () => {
      const show = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(show));
      plot.setSeries(series + 1, { show });
      const first = 1 + curves.series.length + edgesOf(curves).length;
      behindOf(curves).forEach(({ of }, at) => { if (of === series) plot.setSeries(first + at, { show }); });
    }));
  };
  return { whole, say, of };
}

/** The upper and the lower edges of bands, with the number of the series that lies in each. */
function edgesOf(curves) {
  return curves.series.flatMap(({ band }, of) => (band ? [{ of, values: band[1] }, { of, values: band[0] }] : []));
}

/** What was measured, behind the curves that are smoothed, with the number of the series in front of each. */
function behindOf(curves) {
  return curves.series.flatMap(({ measured: values }, of) => (values ? [{ of, values }] : []));
}

/** What uPlot draws: the axis, the curves, the edges of their bands, and what was measured behind them. */
function dataOf(curves) {
  return [curves.x, ...[...curves.series, ...edgesOf(curves), ...behindOf(curves)].map(({ values }) => values)];
}

/**
 * Exponential moving averages, each divided by the weights so far, so that they begin at the first value (as TensorBoard
 * draws them); what was measured stays behind.
 */
function smoothed(panel, weight) {
  if (!weight) return panel;
  const average = (values) => {
    let [sum, weights] = [0, 0];
    return values.map((value) => {
      if (value === null || value === undefined) return value;
      [sum, weights] = [weight * sum + (1 - weight) * value, weight * weights + 1 - weight];
      return sum / weights;
    });
  };
  const series = panel.series.map((curve) => ({ ...curve, values: average(curve.values), measured: curve.faint ? null : curve.values }));
  return { ...panel, series, smoothing: weight };
}

/** A slider for the weight of earlier values, which stands in the address of the page. */
function smoothingOf(changed) {
  const given = Math.min(Math.max(Number(fromAddress("smoothing")) || 0, 0), 0.99);
  const weight = () => Number(slider.value);
  const tell = () => { value.textContent = weight() || "none"; };
  const { slider, value, whole } = sliderOf("smoothing", {
    max: 0.99, step: 0.01, value: given,
    oninput: () => { tell(); requestAnimationFrame(changed); },
    onchange: () => toAddress("smoothing", weight()),
  });
  tell();
  return { weight, whole };
}

function sayNearest(readout, plot, curves) {
  const [series, at] = [plot.series.findIndex(({ _focus }, index) => index > 0 && _focus), plot.cursor.idx];
  const curve = curves.series[series - 1];
  const known = curve && at !== null && at !== undefined ? nearestKnown(plot.data[series], at) : -1;
  readout.textContent = known < 0 ? "" : `${curve.words}${curves.smoothing ? ", smoothed" : ""}: ${curves.words} ${digits(plot.data[0][known])}, ${measured(plot.data[series][known], curves.unit)}`;
}

/** The place nearest to one at which a curve has a value: over time, curves have theirs at other places. */
function nearestKnown(values, at) {
  for (let away = 0; away < values.length; away += 1) {
    const found = [at - away, at + away].find((place) => values[place] !== null && values[place] !== undefined);
    if (found !== undefined) return found;
  }
  return -1;
}

/** Left and right arrow keys move along the axis, up and down to another curve. */
function byKeys(figure, plot, curves) {
  const words = `${curves.title ?? curves.words}: left and right arrow keys move along the axis, up and down to another curve`;
  setAttributes(figure, { tabindex: 0, role: "group", "aria-label": words });
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

everyOne("curves", (place, all) => {
  const metrics = [...new Set(all.flatMap((panel) => (panel.metric ? [panel.metric] : [])))];
  const timed = all.every((panel) => panel.series.every(({ pace }) => pace));
  const metric = menuOf("metric", metrics, () => draw());
  const along = menuOf("along", ["epochs", "time of training"], () => draw());
  const axis = menuOf("axis", ["logarithmic", "linear"], () => draw());
  const smoothing = smoothingOf(() => draw());
  const controls = element("div", { class: "choices" }, ...(metrics.length > 1 ? [metric.whole] : []), ...(timed ? [along.whole] : []), axis.whole, smoothing.whole);
  const grid = element("div", { class: "panels-of-curves" });
  let plots = [];
  const draw = () => {
    for (const plot of plots) plot.destroy();
    const panels = all.filter((panel) => !panel.metric || panel.metric === metrics[metric.menu.value]);
    const figures = panels.map(figureOfCurves);
    grid.replaceChildren(...figures);
    plots = panels.map((panel, index) => {
      const grouped = ofGroups(panel);
      return lines(figures[index], smoothed(along.menu.value === "1" ? overTime(grouped) : grouped, smoothing.weight()), axis.menu.value === "0");
    });
    figures.forEach(offerDrawing);
  };
  place.append(controls, grid);
  GROUPS.follow(draw);
  draw();
});

function figureOfCurves(panel) {
  return element("figure", { class: "curves" }, element("figcaption", { text: panel.title }));
}

function small(panel) {
  return { ...panel, height: SYSTEM_HEIGHT };
}

everyOne("system", (place, panels) => panels.forEach((panel) => {
  const figure = figureOfCurves(panel);
  place.append(figure);
  lines(figure, small(panel));
}));

/** The curves of the shown groups in their colours, and behind the mean of each group with several runs its runs. */
function ofGroups(panel) {
  if (panel.series.every(({ run }) => GROUPS.of(run) === undefined)) return panel;
  const own = panel.series.filter(({ run }) => GROUPS.shows(run)).map((curve) => ({ ...curve, colour: GROUPS.of(curve.run) % GROUP_COLOURS.length }));
  // The seeds of a single group have a colour each, and their mean that of texts.
  const kinds = GROUPS.alone ? [["", GROUP_COLOURS.length - 1]] : [...GROUPS.names.entries()].map(([group, name]) => [`${name}, `, group]);
  const means = kinds.flatMap(([name, group]) => {
    const members = own.filter(({ dashed, run }) => !dashed && (GROUPS.alone || GROUPS.of(run) === group));
    if (members.length < 2) return [];
    const values = panel.x.map((_, at) => {
      const all = members.map((curve) => curve.values[at]);
      return all.includes(null) || all.includes(undefined) ? null : all.reduce((sum, value) => sum + value, 0) / all.length;
    });
    const pace = members.reduce((sum, curve) => sum + (curve.pace ?? 0), 0) / members.length;
    const words = `${name}mean of ${members.length} ${GROUPS.mixed ? "runs" : "seeds"}`;
    return [{ words, values, colour: group % GROUP_COLOURS.length, group, pace, thick: true }];
  });
  const behind = new Set(means.map(({ group }) => group));
  const series = [...own.map((curve) => ({ ...curve, faint: curve.faint || (!GROUPS.alone && behind.has(GROUPS.of(curve.run))) })), ...means];
  return { ...panel, series, count: panel.series.length + means.length };
}

/** The same curves over the seconds of training, with epochs of equal length within a run. */
function overTime(panel) {
  const times = panel.series.map(({ pace }) => panel.x.map((epoch) => epoch * pace));
  const x = [...new Set(times.flat())].sort((one, other) => one - other);
  const series = panel.series.map((curve, index) => {
    const at = new Map(times[index].map((time, epoch) => [time, curve.values[epoch]]));
    return { ...curve, band: null, sparse: true, values: x.map((time) => at.get(time)) };
  });
  return { ...panel, x, series, words: "time of training (s)" };
}
