"use strict";
// The page of a run that is at work: its curves grow, its log follows, its state is the one it has now.
const LONGEST_LOG = 1_000_000;

class GrowingRun {
  constructor(place) {
    this.place = place;
    this.log = place.querySelector("pre");
    this.seen = place.dataset.place;
    this.plots = [];
    this.log.scrollTop = this.log.scrollHeight;
    listen(() => address(place.dataset.live, { place: this.seen }), {
      state: (data) => this.showState(JSON.parse(data)),
      curves: (data) => this.grow(JSON.parse(data)),
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

  grow(panels) {
    const shape = JSON.stringify(panels.map((panel) => [panel.title, panel.x.length < 3, panel.series.map((curve) => curve.words)]));
    if (shape === this.shape) {
      panels.forEach((panel, index) => {
        this.plots[index].setData([panel.x, ...panel.series.map((curve) => curve.values)]);
      });
      return;
    }
    this.shape = shape;
    const figures = panels.map((panel) => element("figure", { class: "curves" }, element("figcaption", { text: panel.title })));
    this.place.querySelector(".curves-drawing").replaceChildren(...figures);
    this.plots = panels.map((panel, index) => lines(figures[index], panel, true));
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

for (const place of document.querySelectorAll("[data-live]")) new GrowingRun(place);
