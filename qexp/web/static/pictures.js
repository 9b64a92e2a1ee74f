"use strict";
// Pictures that runs have saved, one kind at a time, side by side; of a server only those that are looked at.
everyOne("pictures", (place, kinds) => {
  const texts = kinds.map(({ words, runs }) => `${words} (${runs.length} runs)`);
  const { menu, whole } = menuOf("show", ["choose a kind of picture", ...texts], () => draw());
  const grid = element("div", { class: "picture-grid" });
  const draw = () => {
    const { file, words, runs } = kinds[menu.value - 1] ?? { runs: [] };
    grid.replaceChildren(...runs.filter(([run]) => GROUPS.shows(run)).map(([run, source]) => {
      const src = source ?? `${document.body.dataset.prefix}/runs/${encodeURIComponent(run)}/figures/${encodeURIComponent(file)}`;
      const image = element("img", { src, alt: `${words} of ${run}`, loading: "lazy" });
      return element("figure", {}, element("figcaption", {}, swatchOf(GROUPS.of(run) ?? 0), run), image);
    }));
  };
  place.append(element("div", { class: "choices" }, whole), grid);
  GROUPS.follow(draw);
});
