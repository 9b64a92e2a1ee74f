// Estimates against true values: the sample under the mouse, or under the arrow keys, in words.
const POINTS_SIDE = 320;
const NEAR_PIXELS = 12;
const FEW_POINTS = 300;

function drawPoints(place, panels) {
  for (const panel of panels) place.append(pointsOf(panel));
}

function pointsOf(panel) {
  const all = [...panel.truth, ...panel.estimate].filter(Number.isFinite);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = 0.03 * (high - low || 1);
  const ends = [low - room, high + room];
  const axes = ["true", "estimated"].map((words) => ({ ends, label: label(`${words} ${panel.words}`, panel.unit) }));
  const { whole, box, across, up } = frame(axes, POINTS_SIDE, POINTS_SIDE, MARGIN);
  box.prepend(drawn("path", { d: `M0 ${POINTS_SIDE}L${POINTS_SIDE} 0`, class: "equal" }));
  const places = panel.truth.map((value, index) => [across(value), up(panel.estimate[index])]);
  const path = places.filter((place) => place.every(Number.isFinite)).map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`);
  box.append(drawn("path", { d: path.join(""), class: places.length <= FEW_POINTS ? "points few" : "points" }));
  const mark = drawn("circle", { r: 5, class: "mark", visibility: "hidden" });
  box.append(mark);
  const readout = readoutOf("div", "Point at a sample to read its values.");
  const samples = [...places.keys()];
  const order = [...samples].sort((one, other) => panel.truth[one] - panel.truth[other]);
  const show = (index) => {
    const [x, y] = places[index];
    setAttributes(mark, { cx: x, cy: y, visibility: "visible" });
    const error = panel.estimate[index] - panel.truth[index];
    const spread = panel.spread.length ? ` ± ${measured(panel.spread[index], panel.unit)} (ensemble standard deviation)` : "";
    readout.textContent = `${panel.samples[index]}: true ${measured(panel.truth[index], panel.unit)}, estimated `
      + `${measured(panel.estimate[index], panel.unit)}${spread}, error ${measured(error, panel.unit)}`;
  };
  const nearest = (x, y) => nearestOf(samples, (index) => places[index], x - MARGIN.left, y - MARGIN.top, NEAR_PIXELS);
  const words = `${panel.words}: left and right arrow keys go through the samples`;
  const over = overRuns(whole, "scatter", () => order, nearest, show, words, { ArrowLeft: -1, ArrowRight: 1 });
  return element("figure", {}, element("figcaption", { text: panel.title }), over, readout);
}

everyOne("points", drawPoints);
