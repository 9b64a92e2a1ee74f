"use strict";
// Tables that sort by a click on a column's title, and filter by a text.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    const button = element("button", { type: "button" }, ...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const descending = title.getAttribute("aria-sort") === "ascending";
      for (const other of titles) other.removeAttribute("aria-sort");
      title.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (one, other) => {
        const [first, second] = [value(one), value(other)];
        const [number, next] = [Number(first), Number(second)];
        if (first !== "" && second !== "" && !Number.isNaN(number) && !Number.isNaN(next)) return number - next;
        return first.localeCompare(second, undefined, { numeric: true });
      };
      const rows = [...body.rows].sort(compare);
      body.append(...(descending ? rows.reverse() : rows));
    });
  });
  if (!table.dataset.filter) continue;
  const field = element("input", { type: "search", placeholder: table.dataset.filter, "aria-label": table.dataset.filter });
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  (table.closest(".scrolled") ?? table).before(field);
}

/** What is wider than the page is scrolled by the keyboard, too. */
function reachable(box) {
  new ResizeObserver(() => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }).observe(box);
}

document.querySelectorAll("div.scrolled:not([tabindex])").forEach(reachable);
