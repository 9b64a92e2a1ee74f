// Completion of fields and values in the condition, the columns and the group, as a list that arrow keys move in.
const OFFERED = 12;
const WORD = /[A-Za-z_0-9.[\]"'%µ-]*$/;

/** What could stand at the end of a text: `from`, where it begins, and the `offers`. */
function offersFor(kind, text, words) {
  if (kind === "condition") {
    const quoted = /([\w.]+)\s*(?:==|!=)\s*(["']?)([^"']*)$/.exec(text);
    if (quoted && words.values[quoted[1]]) {
      const from = text.length - quoted[2].length - quoted[3].length;
      return { from, offers: matching(words.values[quoted[1]], quoted[3]).map((value) => JSON.stringify(value)) };
    }
    const tagged = /(["'])([^"']*)$/.exec(text);
    if (tagged && text.split(tagged[1]).length % 2 === 0) {
      return { from: tagged.index, offers: matching(words.tags, tagged[2]).map((tag) => `${JSON.stringify(tag)} in tags`) };
    }
  }
  const typed = WORD.exec(text)[0];
  const from = text.length - typed.length;
  if (!typed && (kind === "condition" || text)) return { from, offers: [] };
  return { from, offers: matching(words.fields, typed) };
}

function matching(words, typed) {
  const wanted = typed.toLowerCase();
  const rank = (word) => (word.toLowerCase().startsWith(wanted) ? 0 : 1);
  const found = words.filter((word) => word.toLowerCase().includes(wanted) && word !== typed);
  return found.sort((one, other) => rank(one) - rank(other)).slice(0, OFFERED);
}

let offerLists = 0;

function offerWords(field, words) {
  const list = element("ul", { class: "offers", role: "listbox", id: `offers-${(offerLists += 1)}`, "aria-label": "completions", hidden: "" });
  field.after(list);
  setAttributes(field, { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id });
  let from = 0;
  let chosen = -1;
  const close = () => {
    list.hidden = true;
    chosen = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  };
  const take = (offer) => {
    const end = field.selectionStart;
    field.setRangeText(offer, from, end, "end");
    close();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const mark = (index) => {
    chosen = (index + list.children.length) % list.children.length;
    [...list.children].forEach((offer, number) => offer.setAttribute("aria-selected", String(number === chosen)));
    list.children[chosen].scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", list.children[chosen].id);
  };
  const open = () => {
    const found = offersFor(field.dataset.complete, field.value.slice(0, field.selectionStart), words);
    from = found.from;
    chosen = -1;
    list.replaceChildren(...found.offers.map((text, number) => element("li", {
      role: "option", id: `${list.id}-${number}`, "aria-selected": "false", text,
      onpointerdown: (event) => { event.preventDefault(); take(text); },
    })));
    list.hidden = !found.offers.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
  };
  field.addEventListener("input", (event) => { if (event.isTrusted) open(); });
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) { event.preventDefault(); close(); }
    else if (event.key === "ArrowDown" && list.hidden) open();
    else if (list.hidden) return;
    else if (event.key === "ArrowDown") { event.preventDefault(); mark(chosen + 1); }
    else if (event.key === "ArrowUp") { event.preventDefault(); mark(chosen < 0 ? list.children.length - 1 : chosen - 1); }
    else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) {
      event.preventDefault();
      take(list.children[chosen].textContent);
    }
  });
  close();
}
