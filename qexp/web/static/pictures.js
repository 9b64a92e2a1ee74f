// Pictures that runs have saved, one kind at a time, side by side; of a server only those that are looked at. Where a
// server has several steps, one slider goes over those of all runs, and each shows its last picture until then.
everyOne("pictures", (place, kinds) => {
  const texts = kinds.map(({ words, runs }) => `${words} (${runs.length} runs)`);
  const { menu, whole } = menuOf("show", ["choose a kind of picture", ...texts], () => choose());
  const grid = element("div", { class: "picture-grid" });
  const { slider, value, whole: control } = sliderOf("step", { oninput: () => draw() });
  let steps = [];
  const chosen = () => kinds[menu.value - 1] ?? { runs: [] };
  const choose = () => {
    steps = [...new Set(chosen().runs.flatMap((run) => run.source ? [] : run.steps))].sort((one, other) => one - other);
    control.hidden = steps.length < 2;
    slider.max = slider.value = Math.max(steps.length - 1, 0);
    draw();
  };
  const draw = () => {
    const { words, runs } = chosen();
    const step = steps[slider.value] ?? null;
    value.textContent = slider.ariaValueText = step === null ? "" : step.toLocaleString("en");
    grid.replaceChildren(...runs.filter(({ run }) => GROUPS.shows(run)).map(({ run, source, files, steps: own }) => {
      const index = Math.max(own.findLastIndex((other) => other <= step), 0);
      const address = () => `${document.body.dataset.prefix}/runs/${encodeURIComponent(run)}/figures/${encodeURIComponent(files[index])}`;
      const image = element("img", { src: source ?? address(), alt: `${words} of ${run}`, loading: "lazy" });
      const behind = !source && step !== null && own[index] !== step ? ` (step ${own[index].toLocaleString("en")})` : "";
      return element("figure", {}, element("figcaption", {}, swatchOf(GROUPS.of(run) ?? 0), `${run}${behind}`), image);
    }));
  };
  control.hidden = true;
  place.append(element("div", { class: "choices" }, whole, control), grid);
  GROUPS.follow(draw);
});
