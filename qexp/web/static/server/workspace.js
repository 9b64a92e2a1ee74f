// The page of the workspace: what takes a while to find is shown when it is found.
function tableOf(columns, rows) {
  const numeric = (column) => (rows[0]?.[column].number ? { class: "number" } : {});
  const head = element("tr", {}, ...columns.map((text, column) => element("th", { scope: "col", text, ...numeric(column) })));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => {
    const { text, href, number } = typeof cell === "object" ? cell : { text: cell };
    const shown = href ? element("a", { href, text }) : document.createTextNode(text);
    return element("td", number ? { class: "number" } : {}, shown);
  })));
  return element("div", { class: "scrolled" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

async function fillSection(name, path, draw) {
  const section = document.querySelector(`[data-${name}]`);
  if (!section) return;
  const status = section.querySelector("[role=status]");
  try {
    const drawn = draw(await fetched(address(path)));
    status.replaceWith(...drawn);
    section.querySelectorAll(".scrolled").forEach(reachable);
  } catch (error) {
    status.textContent = error.message;
  }
}

fillSection("disk", "/disk.json", ({ total, largest }) => {
  const list = element("dl", { class: "facts" });
  for (const [name, size] of Object.entries(total)) {
    list.append(element("dt", { text: name }), element("dd", { text: size }));
  }
  const rows = largest.map(([name, size]) => [
    { text: name, href: address(`/runs/${encodeURIComponent(name)}`) }, { text: size, number: true },
  ]);
  return [list, ...(rows.length ? [element("h3", { text: "Largest runs" }), tableOf(["run", "size"], rows)] : [])];
});

fillSection("findings", "/findings.json", (found) => {
  if (!found.length) return [element("p", { text: "Nothing is wrong." })];
  const rows = found.map(({ where, what, advice, repairable }) => [where, what, advice, repairable ? "qexp doctor --fix" : ""]);
  return [tableOf(["where", "what", "what to do", "repair"], rows)];
});
