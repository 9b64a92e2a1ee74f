"use strict";
// Pictures that runs have saved, one kind at a time, side by side; of a server only those that are looked at.
everyOne("pictures", (place, kinds) => {
  const menu = element("select", { onchange: () => draw() },
    element("option", { text: "choose a kind of picture", value: "" }),
    ...kinds.map(({ words, runs }, value) => element("option", { text: `${words} (${runs.length} runs)`, value })));
  const grid = element("div", { class: "picture-grid" });
  const draw = () => {
    const { file, words, runs } = kinds[menu.value] ?? { runs: [] };
    grid.replaceChildren(...runs.filter(([run]) => GROUPS.shows(run)).map(([run, source]) => {
      const src = source ?? `${document.body.dataset.prefix}/runs/${encodeURIComponent(run)}/figures/${encodeURIComponent(file)}`;
      const image = element("img", { src, alt: `${words} of ${run}`, loading: "lazy" });
      return element("figure", {}, element("figcaption", {}, swatchOf(GROUPS.of(run) ?? 0), run), image);
    }));
  };
  place.append(element("div", { class: "choices" }, element("label", {}, "show ", menu)), grid);
  GROUPS.follow(draw);
});
