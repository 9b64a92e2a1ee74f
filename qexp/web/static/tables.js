// Tables that sort by a click on a column's title, and filter by a text.
const COMPARED = { "<": (one, other) => one < other, ">": (one, other) => one > other };

/**
 * Whether the texts of a row hold what is wanted: a number as a whole number, not as digits of others, anything else
 * anywhere; `depth mae<0.1` is for the columns whose titles hold what stands before the sign.
 */
function filterOf(wanted, titles) {
  const [, name, sign, right] = /^([^=<>]*[^=<>\s])\s*([=<>])\s*(.*?)\s*$/.exec(wanted) ?? [null, "", "=", wanted.trim()];
  const of = titles.flatMap((title, column) => (name && !title.toLowerCase().includes(name.trim().toLowerCase()) ? [] : [column]));
  const text = right.toLowerCase();
  const value = text === "" ? NaN : Number(text.replace("−", "-"));
  const whole = new RegExp(`(?<![\\d.])${text.replaceAll(/[^\w\s]/g, "\\$&")}(?![\\d.])`);
  const holds = (cell) => {
    const words = cell.textContent.trim();
    if (Number.isNaN(value)) return sign === "=" && words.toLowerCase().includes(text);
    const number = Number(words.replaceAll("−", "-"));
    const exact = cell.classList.contains("number") && cell.dataset.value ? Number(cell.dataset.value.split(" ")[0]) : number;
    if (sign !== "=") return words !== "" && COMPARED[sign](exact, value);
    if (words !== "" && !Number.isNaN(number)) return number === value || exact === value;
    return (words.includes("×") && digits(exact) === digits(value)) || whole.test(words.toLowerCase());
  };
  return (cells) => text === "" || of.some((column) => holds(cells[column]));
}

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
        const numeric = title.classList.contains("number");
        const [number, next] = [first, second].map((text) => (numeric ? Number(text.split(" ")[0].replace("−", "-")) : Number(text)));
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
    const holds = filterOf(field.value, titles.map((title) => `${title.textContent} ${title.title}`));
    for (const row of body.rows) row.hidden = !holds(row.cells);
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
