// The page of a run that is at work: its curves grow, its log follows, its state is the one it has now.
const LONGEST_LOG = 1_000_000;

/** Curves that are drawn again with each event: others if their shape has changed, else further. */
class GrowingCurves {
  constructor(place, prepared) {
    Object.assign(this, { place, prepared, plots: [], panels: [] });
  }

  show(panels = this.panels) {
    if (!panels.length) return; // the room for them stays
    this.panels = panels;
    const drawn_ = panels.map(this.prepared);
    const shape = JSON.stringify(drawn_.map((panel) => [panel.title, panel.words, panel.x.length < 3, Boolean(panel.smoothing), panel.series.map((curve) => curve.words)]));
    if (shape === this.shape) {
      drawn_.forEach((panel, index) => this.plots[index].setData(dataOf(panel)));
      return;
    }
    this.shape = shape;
    for (const plot of this.plots) plot.destroy();
    const figures = drawn_.map(figureOfCurves);
    this.place.replaceChildren(...figures);
    this.plots = drawn_.map((panel, index) => lines(figures[index], panel, !panel.height));
  }
}

/** Figures that a run logs, by name: a slider goes over their steps, and stays at the last one while there are more. */
function loggedFigures(place) {
  const section = place.closest("section");
  const shown = new Map();
  const made = (name) => {
    const image = element("img");
    const { slider, value, whole } = sliderOf("step", { max: 0, value: 0, oninput: () => draw() });
    let files = [];
    const draw = () => {
      const { file, width, height, step } = files[slider.value];
      setAttributes(image, { width, height, alt: `${name}, step ${step}` });
      const source = `${section.dataset.figures}${encodeURIComponent(file)}`;
      if (image.getAttribute("src") !== source) image.src = source;
      slider.setAttribute("aria-valuetext", step);
      value.textContent = `${step.toLocaleString("en")} (${Number(slider.value) + 1} of ${files.length})`;
    };
    place.append(element("figure", {}, element("figcaption", { text: name }), image, whole));
    return (given) => {
      const last = Number(slider.value) >= files.length - 1;
      files = given;
      slider.max = files.length - 1;
      if (last) slider.value = files.length - 1;
      slider.disabled = files.length < 2;
      draw();
    };
  };
  return (series) => {
    section.hidden = !Object.keys(series).length;
    for (const [name, files] of Object.entries(series)) {
      if (!shown.has(name)) shown.set(name, made(name));
      shown.get(name)(files);
    }
  };
}

class GrowingRun {
  constructor(place) {
    this.place = place;
    this.log = place.querySelector("pre");
    this.seen = place.dataset.place;
    this.log.scrollTop = this.log.scrollHeight;
    const smoothing = smoothingOf(() => curves.show());
    const curves = new GrowingCurves(place.querySelector(".curves-drawing"), (panel) => smoothed(panel, smoothing.weight()));
    curves.place.before(element("div", { class: "choices" }, smoothing.whole));
    const system = new GrowingCurves(place.querySelector(".system-drawing"), small);
    listen(() => address(place.dataset.live, { place: this.seen }), {
      state: (data) => this.showState(JSON.parse(data)),
      curves: (data) => curves.show(JSON.parse(data)),
      system: (data) => system.show(JSON.parse(data)),
      figures: (data) => showLogged?.(JSON.parse(data)),
      log: (data, place_) => this.append(JSON.parse(data), place_),
      end: () => this.end(),
    });
  }

  showState({ state, progress }) {
    this.state = state.replaceAll("_", " ");
    document.querySelector("h1 .state").textContent = this.state;
    this.place.querySelector(".progress").textContent = progress;
    const card = [...document.querySelectorAll(".key-numbers dt")].find((words) => words.textContent === "training");
    const epochs = /^epoch ([^,]+)/.exec(progress);
    if (card && epochs) card.nextElementSibling.querySelector("b").textContent = `${epochs[1]} epochs`;
  }

  append({ text, anew }, place) {
    const follows = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    const whole = (anew ? "" : this.log.textContent) + text;
    this.log.textContent = whole.slice(-LONGEST_LOG);
    this.seen = place;
    if (follows) this.log.scrollTop = this.log.scrollHeight;
  }

  end() {
    const notice = this.place.querySelector(".ended");
    notice.querySelector("b").textContent = this.state;
    notice.hidden = false;
  }
}

let showLogged = null;
everyOne("logged", (place, series) => {
  showLogged = loggedFigures(place);
  showLogged(series);
});
for (const place of document.querySelectorAll("[data-live]")) new GrowingRun(place);
