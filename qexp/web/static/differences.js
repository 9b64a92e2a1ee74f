// Differences of all groups from one of them that the reader chooses, with intervals by Student's t: seed by seed, and of
// groups without two common seeds those of their means, as independent samples.
const BARS = { width: 170, height: 22 };
const OF_ONE = ["better", "worse"];

function drawDifferences(place, { groups, base: usual, samples, metrics, quantiles, level }) {
  const several = (of) => groups.map((_, group) => group).filter((group) => Object.keys(of.values[group]).length > 1);
  const first = metrics.reduce((best, metric) => (metric.main && several(metric).length > several(best).length ? metric : best));
  const base = menuOf("differences from", groups, () => paint(), several(first).includes(usual) ? usual : several(first)[0] ?? 0);
  const metric = menuOf("in", metrics.map(({ words }) => words), () => paint(), metrics.indexOf(first));
  const table = element("div", { class: "scrolled tall" });
  const note = element("p", { class: "quiet" });
  reachable(table);
  const paint = () => {
    const [of, from] = [metrics[metric.menu.value], Number(base.menu.value)];
    const rows = groups.map((name, group) => ({ name, group, ...differenceOf(of, group, from, samples) })).filter((_, group) => group !== from);
    const compared = rows.filter((row) => !row.why);
    for (const row of compared.filter(({ each }) => each)) Object.assign(row, withIntervals(row, quantiles[row.each.length], of.together[row.each.length]));
    for (const row of compared) row.words = verdict(row.mean, row.alone, row.together, of.best);
    compared.sort((one, other) => (of.best === "highest" ? other.mean - one.mean : one.mean - other.mean));
    table.replaceChildren(tableOfDifferences([...compared, ...rows.filter((row) => row.why)], of, level));
    const count = compared.length;
    note.textContent = `${groups[from]} is compared with ${count} group${count === 1 ? "" : "s"}. Thick bars and the first intervals `
      + `hold for each difference by itself with ${level} %. Thin bars and the second intervals hold with ${level} % for `
      + `${of.comparisons === 1 ? "it" : `all ${of.comparisons} differences of this metric at once, of every two groups and all outputs`} `
      + "(Bonferroni); better and worse are said by these, as in qexp compare.";
  };
  place.append(element("div", { class: "choices" }, base.whole, metric.whole), table, note);
  paint();
}

/** The differences at the seeds that two groups share; what is best at zero is compared by its size. */
function differenceOf({ values, best, unpaired }, group, from, samples) {
  if (samples[group] !== samples[from]) return { why: "other test samples" };
  const size = best === "zero" ? Math.abs : Number;
  const seeds = Object.keys(values[group]).filter((seed) => seed in values[from]);
  const [there, back] = [unpaired[`${group} ${from}`], unpaired[`${from} ${group}`]];
  if (there) return { mean: there[0], alone: there[1], together: there[2], n: "unpaired" };
  if (back) return { mean: -back[0], alone: turned(back[1]), together: turned(back[2]), n: "unpaired" };
  if (seeds.length < 2) return { why: "fewer than two seeds in common" };
  return { each: seeds.map((seed) => size(values[group][seed]) - size(values[from][seed])) };
}

const turned = ([low, high]) => [-high, -low];

/** Their mean with Student's intervals, by the quantiles for it alone, and for all differences at once. */
function withIntervals({ each }, quantile, quantileOfAll) {
  const n = each.length;
  const mean = each.reduce((sum, difference) => sum + difference, 0) / n;
  const deviation = Math.sqrt(each.reduce((sum, difference) => sum + (difference - mean) ** 2, 0) / (n - 1));
  const within = (quantile) => [-1, 1].map((side) => mean + (side * quantile * deviation) / Math.sqrt(n));
  const [alone, together] = [quantile, quantileOfAll].map(within);
  return { n, mean, deviation, alone, together };
}

function verdict(mean, alone, together, best) {
  if (best === null) return "";
  const word = OF_ONE[Number((mean > 0) !== (best === "highest"))];
  if (together[0] > 0 || together[1] < 0) return word;
  return alone[0] > 0 || alone[1] < 0 ? `${word} by its own interval only` : "not significantly different";
}

function tableOfDifferences(rows, { unit, best }, level) {
  const most = Math.max(...rows.flatMap((row) => (row.why ? [] : row.alone.map(Math.abs))), 0) || 1;
  const columns = [
    ["group", "steady", (row) => element("span", {}, swatchOf(row.group), row.name)],
    ["verdict", "steady", (row) => row.why ?? row.words],
    ["", "", (row) => barsOf(row, most)],
    [label(best === "zero" ? "difference of sizes" : "difference", unit), "number", (row) => pairOf(row.mean, row.deviation), (row) => [row.mean, row.deviation]],
    [`${level} % interval`, "number", (row) => intervalOf(row.alone, row.deviation), (row) => row.alone],
    [`${level} %, all at once`, "number", (row) => intervalOf(row.together, row.deviation), (row) => row.together],
    ["n", "number", (row) => row.n],
  ];
  const head = columns.map(([text, name]) => element("th", { scope: "col", class: name, text }));
  const lines = rows.map((row) => element("tr", {}, ...columns.map(([, name, cell, numbers], index) => {
    if (row.why && index > 1) return element("td", { class: name });
    // A file of the table has all digits.
    return element("td", { class: name, ...(numbers ? { "data-value": numbers(row).join(" ") } : {}) }, cell(row));
  })));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

/** Both intervals around zero; the wide one may leave the drawing. */
function barsOf({ group, mean, alone, together }, most) {
  const { width, height } = BARS;
  const at = (value) => Math.min(Math.max((width * (1 + value / (1.05 * most))) / 2, 0), width);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "frame differences", "aria-hidden": "true" });
  svg.style.setProperty("--point", colourOfGroup(group));
  const bar = ([low, high], name) => drawn("path", { d: `M${at(low)} ${height / 2}H${at(high)}`, class: name });
  svg.append(drawn("path", { d: `M${width / 2} 0v${height}`, class: "tick" }), bar(together, "together"), bar(alone, "alone"));
  svg.append(drawn("circle", { cx: at(mean), cy: height / 2, r: 4, class: "of-mean" }));
  return svg;
}

everyOne("differences", drawDifferences);
