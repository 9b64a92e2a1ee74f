// Groups of runs that differ by seed only: one colour each in all drawings of a page. A reader shows or hides them, and
// joins them by one key or two.
class Groups {
  constructor() {
    Object.assign(this, { base: [], runs: {}, names: [], joined: [], hidden: new Set(), followers: [] });
  }

  /** `names` of groups, `runs`: run → number of its group. */
  fill({ names, runs }) {
    // The runs of a single group have a colour each.
    Object.assign(this, { base: names, runs, alone: names.length === 1 });
    this.joinBy([]);
  }

  /** The groups that have the same values of some keys become one; without a key each is its own. */
  joinBy(keys) {
    const words = this.base.map((_, group) => keys.map((key) => `${key.words}=${key.values[group]}`).join(" "));
    const order = [...new Set(words)].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
    this.names = this.alone ? Object.keys(this.runs) : keys.length ? inOrderOf(keys, this.base.map((_, group) => group), words, order) : this.base;
    this.joined = this.base.map((_, group) => (keys.length ? this.names.indexOf(words[group]) : group));
    this.mixed = this.names.length < this.base.length;
    this.hidden.clear();
    this.tell();
  }

  /** The number of a run's group, undefined for a run that is in none. */
  of(run) {
    if (!(run in this.runs)) return undefined;
    return this.alone ? Object.keys(this.runs).indexOf(run) : this.joined[this.runs[run]];
  }

  shows(run) {
    return !this.hidden.has(this.of(run));
  }

  toggle(group) {
    if (!this.hidden.delete(group)) this.hidden.add(group);
    this.tell();
  }

  follow(act) {
    this.followers.push(act);
  }

  tell() {
    for (const act of this.followers) act();
  }
}

/** Joined groups by the values of their keys: numbers as numbers. */
function inOrderOf(keys, groups, words, names) {
  const values = (name) => keys.map((key) => key.values[groups.find((group) => words[group] === name)]);
  const compare = (one, other) => (typeof one === "number" && typeof other === "number" ? one - other
    : String(one).localeCompare(String(other), undefined, { numeric: true }));
  return [...names].sort((one, other) => {
    const [first, second] = [values(one), values(other)];
    return first.map((value, index) => compare(value, second[index])).find((sign) => sign) ?? 0;
  });
}

const GROUPS = new Groups();

everyOne("groups", (place, data) => {
  GROUPS.fill(data);
  const legend = element("ul", { class: "key", "aria-label": "groups, shown or hidden" });
  const keys = Object.entries(data.keys).map(([words, values]) => ({ words, values }));
  const names = keys.map((key) => key.words);
  const join = () => GROUPS.joinBy([...new Set(menus.map(({ menu }) => keys[menu.value - 1]).filter(Boolean))]);
  const menus = keys.length < 2 ? [] : [
    menuOf("group by", ["all that was changed", ...names], join), menuOf("and by", ["–", ...names], join),
  ];
  const draw = () => legend.replaceChildren(...GROUPS.names.map((name, group) => {
    const button = element("button", { type: "button", "aria-pressed": String(!GROUPS.hidden.has(group)), title: "show or hide" }, swatchOf(group), name);
    button.addEventListener("click", () => {
      GROUPS.toggle(group);
      legend.querySelectorAll("button")[group].focus();
    });
    return element("li", {}, button);
  }));
  GROUPS.follow(draw);
  join();
  if (GROUPS.names.length > 1) place.append(...menus.map(({ whole }) => whole), legend);
  else place.remove();
});
