// The table of runs: rows are fetched in blocks as they come into sight, so that ten thousand scroll like fifty.
const BLOCK = 100;
const BEYOND = 15;
const FILTERS = ["search", "where", "status", "tag", "group", "columns"];
const SELECTED_MOST = 100;
const NARROW = matchMedia("(max-width: 40rem)");
const FIRST_IF_NARROW = ["name", "state", "validation.", "test."];

class RunTable {
  constructor(place) {
    this.place = place;
    this.form = place.querySelector("form");
    this.scroller = place.querySelector(".scroller");
    this.table = place.querySelector("table");
    this.parts = Object.fromEntries(
      ["before", "shown", "after"].map((name) => [name, this.table.querySelector(`.${name}`)]),
    );
    this.launch = place.dataset.runTable;
    this.selected = new Set((fromAddress("selected") ?? "").split(",").filter(Boolean));
    this.losses = new Map();
    this.fetchLosses = later(() => this.drawLosses(), 120);
    this.answer = null;
    this.blocks = new Map();
    this.asked = 0;
    this.rowHeight = 34;
    this.takeFromAddress();
    this.drawSelected();
    this.form.addEventListener("submit", (event) => event.preventDefault());
    // A word that is being completed is no condition yet, and the server would look for it in every spec.
    const completing = () => this.form.querySelector(".offers:not([hidden])");
    this.form.addEventListener("input", later(() => completing() || this.changed(), 300));
    this.form.addEventListener("change", () => this.changed());
    this.scroller.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    place.querySelector(".compare").addEventListener("click", () => this.compare());
    place.addEventListener("stale", () => this.load(true));
    NARROW.addEventListener("change", () => this.load());
    this.fillWords();
    listen(() => address("/events"), { version: (version) => this.answer?.version !== version && this.load(true) });
    this.load();
  }

  takeFromAddress() {
    const given = new URLSearchParams(location.search);
    for (const name of FILTERS) {
      const field = this.form.elements[name];
      const value = given.get(name) ?? "";
      if (field.tagName === "SELECT" && value) field.append(element("option", { value, text: value }));
      field.value = value;
    }
    this.sort = given.get("sort") || "created";
    this.descending = given.get("descending") !== "0";
  }

  question() {
    const asked = Object.fromEntries(FILTERS.map((name) => [name, this.form.elements[name].value.trim()]));
    const usual = this.sort === "created" && this.descending;
    return { ...asked, ...(usual ? {} : { sort: this.sort, descending: this.descending ? 1 : 0 }) };
  }

  /** The question and the selection stand in the address, so that a link shows the same. */
  remember() {
    const asked = { ...this.question(), selected: [...this.selected].join(",") };
    history.replaceState(null, "", address(location.pathname.slice(PREFIX.length), asked));
  }

  changed() {
    this.remember();
    this.scroller.scrollTop = 0;
    this.load();
  }

  /** The rows in sight, and with them what the table is; `again`: the same question, because runs changed. */
  async load(again = false) {
    const turn = ++this.asked;
    const [first, end] = again ? this.inSight() : [0, 1];
    const wanted = [];
    for (let block = Math.floor(first / BLOCK); block * BLOCK < Math.max(end, 1); block += 1) wanted.push(block);
    try {
      const answers = await Promise.all(wanted.map((block) => this.fetchBlock(block * BLOCK)));
      if (turn !== this.asked) return;
      this.say("");
      [this.answer] = answers;
      if (again) this.losses.clear();
      this.blocks = new Map(wanted.map((block, index) => [block, answers[index].rows]));
      this.drawHead();
      this.drawCounts();
      // Rows that are the same stay: a link that is replaced while a button is pressed on it would lose the click.
      const drawn = JSON.stringify([this.question(), wanted, answers.map((answer) => ({ ...answer, version: null }))]);
      if (drawn !== this.drawn) this.draw();
      this.drawn = drawn;
    } catch (error) {
      if (turn !== this.asked) return;
      this.say(error.message);
      if (!again && this.answer) this.clear();
    }
  }

  /** No rows: those of the earlier question would be taken for the answer. */
  clear() {
    this.answer = { ...this.answer, total: 0 };
    this.blocks.clear();
    this.drawn = null;
    this.place.querySelector(".counts").textContent = "";
    this.draw();
  }

  /** Where there is room for few columns, the usual ones begin with what one looks for: the state, and the errors. */
  async fetchBlock(first) {
    const question = this.question();
    const answer = await fetched(address("/runs.json", { ...question, launch: this.launch, first, count: BLOCK }));
    if (!NARROW.matches || question.columns || question.group) return answer;
    const beginning = (start) => answer.columns.flatMap(({ field }, column) => (field.startsWith(start) ? [column] : []));
    const order = [...new Set([...FIRST_IF_NARROW, ""].flatMap(beginning))];
    const ordered = (all) => order.map((column) => all[column]);
    return { ...answer, columns: ordered(answer.columns), rows: answer.rows.map((row) => ({ ...row, cells: ordered(row.cells) })) };
  }

  say(text) {
    const problem = this.place.querySelector(".problem");
    problem.textContent = text;
    problem.hidden = !text;
  }

  /** The numbers of the first row in sight and of the one after the last. */
  inSight() {
    const total = this.answer?.total ?? 0;
    const first = Math.floor(this.scroller.scrollTop / this.rowHeight);
    const count = Math.ceil(this.scroller.clientHeight / this.rowHeight);
    return [Math.max(0, first - BEYOND), Math.min(total, first + count + BEYOND)];
  }

  draw() {
    if (!this.answer) return;
    const [first, end] = this.inSight();
    const rows = [];
    for (let number = first; number < end; number += 1) rows.push(this.rowAt(number));
    this.keepFocus(() => this.parts.shown.replaceChildren(...rows));
    this.fetchLosses();
    this.spread(this.parts.before, first);
    this.spread(this.parts.after, this.answer.total - end);
    if (rows.length) this.rowHeight = this.parts.shown.getBoundingClientRect().height / rows.length || this.rowHeight;
    for (const cell of this.table.tHead.rows[0]?.cells ?? []) {
      // Columns become wider where they must, and never narrower, so that they stand still under the eyes.
      const width = Math.max(cell.offsetWidth, Number(cell.dataset.width ?? 0));
      cell.dataset.width = width;
      cell.style.minWidth = `${width}px`;
    }
  }

  /** Losses of the rows in sight alone, so that many runs are as quick as few. */
  async drawLosses() {
    const rows = [...this.parts.shown.rows].filter((row) => row.querySelector(".loss"));
    const missing = rows.map((row) => row.dataset.name).filter((name) => !this.losses.has(name)).slice(0, 150);
    if (missing.length) {
      const query = new URLSearchParams(missing.map((name) => ["run", name]));
      const found = await fetched(`${address("/losses.json")}?${query}`).catch(() => ({}));
      for (const name of missing) this.losses.set(name, found[name] ?? []);
    }
    for (const row of rows) {
      const values = this.losses.get(row.dataset.name) ?? [];
      row.querySelector(".loss").replaceChildren(...(values.length > 1 ? [sparkline(values)] : []));
    }
  }

  keepFocus(redraw) {
    const held = document.activeElement?.closest?.(".scroller tr")?.dataset.name;
    const kind = document.activeElement?.tagName;
    redraw();
    if (held === undefined) return;
    const row = [...this.parts.shown.rows].find((row) => row.dataset.name === held);
    (row?.querySelector(kind === "INPUT" ? "input" : "a") ?? this.scroller).focus({ preventScroll: true });
  }

  spread(part, count) {
    const cell = element("td", { colspan: this.answer.columns.length + 2 });
    cell.style.height = `${count * this.rowHeight}px`;
    part.replaceChildren(...(count > 0 ? [element("tr", {}, cell)] : []));
  }

  rowAt(number) {
    const block = Math.floor(number / BLOCK);
    const rows = this.blocks.get(block);
    if (rows === undefined) this.fetchLater(block);
    const row = rows?.[number % BLOCK];
    const made = element("tr", { "aria-rowindex": number + 2 });
    if (!row) {
      made.append(element("td", { colspan: this.answer.columns.length + 2, text: "…" }));
      return made;
    }
    made.dataset.name = row.name ?? row.where ?? "";
    const [name, ...others] = row.cells.map((text, column) => this.cellOf(row, text, column));
    made.append(this.boxOf(row), name, element("td", row.name === undefined ? {} : { class: "loss" }), ...others);
    return made;
  }

  boxOf(row) {
    if (row.name === undefined) return element("td");
    const onchange = () => {
      if (!this.selected.delete(row.name)) this.selected.add(row.name);
      this.drawSelected();
      this.remember();
    };
    const checked = this.selected.has(row.name);
    const box = element("input", { type: "checkbox", "aria-label": `select ${row.name}`, checked, onchange });
    return element("td", {}, box);
  }

  cellOf(row, text, column) {
    const { numeric, title } = this.answer.columns[column];
    const cell = element("td", { title: text, ...(numeric ? { class: "number" } : {}) });
    if (column === 0 && row.name !== undefined) {
      cell.append(element("a", { class: "of-name", href: address(`/runs/${encodeURIComponent(row.name)}`), text }));
    } else if (column === 0 && row.where) {
      cell.append(element("a", { href: this.addressOfGroup(row.where), text }));
    } else {
      cell.textContent = text;
      if (title === "set" || title === "created") cell.replaceChildren(element("span", { class: `small of-${title}`, text }));
      if (title === "state" && text) {
        cell.replaceChildren(element("span", { class: `state of-${text}`, text: text.replaceAll("_", " ") }));
      }
    }
    return cell;
  }

  addressOfGroup(condition) {
    const asked = this.question();
    const where = asked.where ? `(${asked.where}) and ${condition}` : condition;
    return address(location.pathname.slice(PREFIX.length), { ...asked, group: "", where });
  }

  async fetchLater(block) {
    const turn = this.asked;
    this.blocks.set(block, null);
    try {
      const answer = await this.fetchBlock(block * BLOCK);
      if (turn !== this.asked) return;
      this.blocks.set(block, answer.rows);
      this.draw();
    } catch {
      if (turn === this.asked) this.blocks.delete(block);
    }
  }

  drawHead() {
    const titles = this.answer.columns.map(({ title, words = title, field, numeric }) => {
      words = words.replaceAll(/\([^()]*\)/g, (unit) => unit.replaceAll(" ", "\u00a0")); // a line ends before a unit
      const cell = element("th", { scope: "col", class: `${numeric ? "number" : ""}${words.length > 30 ? " long" : ""}` });
      if (words !== title) cell.title = field ?? title;
      if (!field) {
        cell.textContent = words;
        return cell;
      }
      if (field === this.sort) cell.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      cell.append(element("button", { type: "button", text: words, onclick: () => this.sortBy(field) }));
      return cell;
    });
    const head = JSON.stringify(this.answer.columns);
    if (head === this.headWords && titles.length + 2 === this.table.tHead.rows[0]?.cells.length) {
      const cells = [...this.table.tHead.rows[0].cells].slice(1).filter((cell) => !cell.matches(".loss"));
      titles.forEach((title, index) => {
        const sorted = title.getAttribute("aria-sort");
        if (sorted) cells[index].setAttribute("aria-sort", sorted);
        else cells[index].removeAttribute("aria-sort");
      });
      return;
    }
    this.headWords = head;
    const corner = element("th", { scope: "col" }, element("span", { class: "unseen", text: "selected" }));
    const [name, ...others] = titles;
    const loss = element("th", { scope: "col", class: "loss", text: "loss" });
    this.table.tHead.replaceChildren(element("tr", {}, corner, name, loss, ...others));
  }

  sortBy(field) {
    this.descending = field === this.sort ? !this.descending : false;
    this.sort = field;
    this.changed();
  }

  drawCounts() {
    const { total, states, warnings, shared } = this.answer;
    this.scroller.hidden = !total;
    this.table.setAttribute("aria-rowcount", total + 1);
    const grouped = Boolean(this.form.elements.group.value.trim());
    this.table.classList.toggle("of-groups", grouped);
    const of = Object.entries(states).map(([state, count]) => `${count.toLocaleString("en")} ${state.replaceAll("_", " ")}`);
    const counted = `${total.toLocaleString("en")} ${grouped ? "groups" : total === 1 ? "run" : "runs"}`;
    this.place.querySelector(".counts").textContent = [of.length ? `${counted}: ${of.join(", ")}` : counted, ...(shared.length ? [`all with ${shared.join(" ")}`] : [])].join("; ");
    const shown = warnings.slice(0, 5).map((text) => element("p", { class: "notice caution", text }));
    this.place.querySelector(".warnings").replaceChildren(...shown);
  }

  drawSelected() {
    const count = this.selected.size;
    const button = this.place.querySelector(".compare");
    button.disabled = count < 2 || count > SELECTED_MOST;
    const wanted = count > SELECTED_MOST ? `: ${SELECTED_MOST} at most` : ["", ": tick one more"][count] ?? "";
    button.textContent = count ? `Compare selected runs (${count})${wanted}` : "Compare selected runs: tick two or more";
    this.place.dispatchEvent(new CustomEvent("selected", { detail: [...this.selected] }));
  }

  compare() {
    location.href = `${PREFIX}/compare?${new URLSearchParams([...this.selected].map((name) => ["run", name]))}`;
  }

  /** Check boxes for the columns, which fill the text of the form, and with it the address. */
  offerColumns(fields) {
    const picker = this.place.querySelector(".picker");
    const text = this.form.elements.columns;
    const chosen = () => text.value.split(",").map((name) => name.trim()).filter(Boolean);
    const list = picker.querySelector(".fields");
    const search = picker.querySelector("input");
    const take = (name, wanted) => {
      const now = chosen().length ? chosen() : this.answer.columns.map(({ field }) => field).filter(Boolean);
      text.value = (wanted ? [...now, name] : now.filter((other) => other !== name)).join(", ");
      this.changed();
    };
    const draw_ = () => {
      const shown = chosen().length ? chosen() : (this.answer?.columns ?? []).map(({ field }) => field);
      const names = [...new Set([...shown, ...fields])].filter((name) => name && name.toLowerCase().includes(search.value.toLowerCase()));
      list.replaceChildren(...names.slice(0, 300).map((name) => {
        const onchange = (event) => { event.stopPropagation(); take(name, box.checked); };
        const box = element("input", { type: "checkbox", checked: shown.includes(name), onchange });
        return element("label", {}, box, ` ${name}`);
      }));
    };
    picker.addEventListener("toggle", draw_);
    search.addEventListener("input", draw_);
    picker.querySelector("button").addEventListener("click", () => { text.value = ""; this.changed(); setTimeout(draw_, 400); });
  }

  async fillWords() {
    const words = await fetched(address("/words.json")).catch(() => null);
    if (!words) return;
    for (const [name, values] of [["status", words.values.state], ["tag", words.tags]]) {
      const field = this.form.elements[name];
      const known = new Set([...field.options].map((option) => option.value));
      field.append(...values.filter((value) => !known.has(value)).map((value) => element("option", { value, text: value })));
    }
    for (const field of this.form.querySelectorAll("[data-complete]")) offerWords(field, words);
    this.offerColumns(words.fields);
  }
}

for (const place of document.querySelectorAll("[data-run-table]")) new RunTable(place);
