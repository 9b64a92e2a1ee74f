// Ranges on the axes of a sweep: runs outside of any of them fade, and leave the table.

class Ranges {
  /** `changed` is called whenever a range has changed. */
  constructor(columns, scaleOf, changed) {
    Object.assign(this, { columns, scaleOf, changed, of: new Map() });
  }

  /** From and to are shares of an axis, in any order. */
  set(column, from, to) {
    this.of.set(column, [Math.min(from, to), Math.max(from, to)]);
    this.changed();
  }

  clear(...columns) {
    for (const column of columns.length ? columns : [...this.of.keys()]) this.of.delete(column);
    this.changed();
  }

  /** Whether a run is inside of all ranges; one without a value on an axis with a range is not. */
  holds(run) {
    return [...this.of].every(([column, [low, high]]) => {
      const share = this.scaleOf(column).at(this.columns[column].values[run]);
      return share >= low && share <= high;
    });
  }
}

/** Ranges as texts to fill in, for those without a mouse: from and to by axis. They follow what the mouse does. */
function fieldsOf(ranges, rescaled) {
  const rows = ranges.columns.map((column, index) => {
    const ends = ["from", "to"].map((words) => endOf(column, words));
    const read = () => {
      const [from, to] = ends.map((end) => (end.value === "" ? NaN : ranges.scaleOf(index).at(column.numeric ? Number(end.value) : end.value)));
      if (ends.every((end) => end.value === "")) ranges.clear(index);
      else ranges.set(index, ...shareOfEnds(from, to, column.flipped));
    };
    for (const end of ends) end.addEventListener("change", read);
    const show = () => {
      if (ends.includes(document.activeElement)) return;
      const range = ranges.of.get(index);
      ends.forEach((end, side) => { end.value = range ? ranges.scaleOf(index).text(range, side) : ""; });
    };
    const switches = ["log", "flipped"].map((kind) => {
      const disabled = kind === "log" && !canBeLogarithmic(column);
      // A range is of values, not of places on the axis.
      const onchange = () => { column[kind] = box.checked; ranges.of.delete(index); rescaled(); };
      const box = element("input", { type: "checkbox", "aria-label": `${column.title} ${kind}`, checked: column[kind], disabled, onchange });
      return { kind, box };
    });
    const follow = () => { for (const { kind, box } of switches) box.checked = column[kind]; show(); };
    const labels = switches.map(({ kind, box }) => element("label", {}, box, ` ${kind}`));
    return { show: follow, line: element("div", { class: "range" }, element("span", { text: column.title }), ...ends, ...labels) };
  });
  const clear = element("button", { type: "button", text: "Clear all ranges", onclick: () => ranges.clear() });
  return {
    fade: () => { for (const row of rows) row.show(); },
    figure: element("details", { class: "ranges" }, element("summary", { text: "Axes and ranges" }), ...rows.map((row) => row.line), clear),
  };
}

/** Shares of an axis between two ends, of which one may be missing; on a flipped axis the larger value is lower. */
function shareOfEnds(from, to, flipped) {
  const [first, last] = flipped ? [Infinity, -Infinity] : [-Infinity, Infinity];
  return [Number.isNaN(from) ? first : from, Number.isNaN(to) ? last : to];
}

function endOf(column, words) {
  const name = `${column.title} ${words}`;
  if (column.numeric) return element("input", { type: "number", step: "any", placeholder: words, "aria-label": name });
  const texts = sortedTexts(column).map((text) => element("option", { text, value: text }));
  return element("select", { "aria-label": name }, element("option", { text: words, value: "" }), ...texts);
}

/** An axis on which a drag makes a range, and a click clears it; `share` tells how far up an event is. */
function axisOf(ranges, column, area, share) {
  const { x, top, height } = area;
  const shown = drawn("rect", { x: x - 7, width: 14, y: top, height: 0, class: "range-shown" });
  const handle = drawn("rect", { x: x - 16, width: 32, y: top - 6, height: height + 12, class: "axis-handle" });
  let begun = null;
  // Or a finger would scroll the page; within SVG, browsers do not follow the style touch-action.
  handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  handle.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    begun = { share: share(event), y: event.clientY, moved: false };
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!begun) return;
    begun.moved ||= Math.abs(event.clientY - begun.y) > 3;
    if (begun.moved) ranges.set(column, begun.share, share(event));
  });
  handle.addEventListener("pointerup", () => {
    if (begun && !begun.moved) ranges.clear(column);
    begun = null;
  });
  handle.addEventListener("pointercancel", () => { begun = null; });
  const show = () => {
    const [low, high] = (ranges.of.get(column) ?? [0, 0]).map((end) => Math.min(Math.max(end, 0), 1));
    setAttributes(shown, { y: top + height * (1 - high), height: ranges.of.has(column) ? Math.max(height * (high - low), 2) : 0 });
  };
  return { parts: [shown, handle], show };
}
