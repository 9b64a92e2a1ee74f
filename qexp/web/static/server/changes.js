// Changes to runs, on pages of a server that allows them: each is confirmed, and the server says what became of it.
const SECRET = document.body.dataset.secret;

async function ask(kind, wanted) {
  return fetched(address(`/changes/${kind}`), {
    method: "POST",
    headers: { "content-type": "application/json", "x-qexp-secret": SECRET },
    body: JSON.stringify(wanted),
  });
}

const named = (runs) => (runs.length > 6 ? `${runs.slice(0, 6).join(", ")} and ${runs.length - 6} more` : runs.join(", "));

const KINDS_OF_CHANGES = {
  tag: {
    button: "Tag…", title: "Tags to add", words: "Tags, with spaces between; −tag removes one", field: "input",
    wanted: (text) => {
      const tags = text.trim().split(/\s+/).filter(Boolean);
      const removed = /^[-−]/;
      return {
        add: tags.filter((tag) => !removed.test(tag)),
        remove: tags.filter((tag) => removed.test(tag)).map((tag) => tag.slice(1)),
      };
    },
  },
  note: { button: "Note…", title: "Note", words: "Replaces the note", field: "textarea", wanted: (text) => ({ text }) },
  stop: { button: "Stop…", title: "Stop: write a checkpoint, and end", wanted: () => ({}) },
  remove: { button: "Remove…", title: "Move to the trash", wanted: () => ({}) },
};

/** Asks in a dialog, changes, and calls `done` with the answer of the server. */
function confirmChange(kind, runs, text, done) {
  const { title, words, field, wanted, own } = KINDS_OF_CHANGES[kind];
  const input = field ? element(field, { name: "text", "aria-label": words, autocomplete: "off" }) : null;
  if (input) input.value = text;
  const problem = element("p", { class: "notice failed", role: "alert", hidden: "" });
  const agree = element("button", { type: "submit", text: title.split(":")[0] });
  const cancel = element("button", { type: "button", text: "Cancel", onclick: () => dialog.close() });
  const form = element("form", {},
    element("h2", { text: title }), element("p", { text: named(runs) }),
    ...(input ? [element("p", {}, element("label", {}, `${words} `, input))] : []),
    problem, element("p", { class: "links" }, agree, cancel));
  const dialog = element("dialog", {}, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    agree.disabled = true;
    try {
      const answer = await (own ?? ask)(kind, { runs, ...wanted(input?.value ?? "") });
      const failed = Object.entries(answer.failed).map(([name, why]) => `${name}: ${why}`);
      if (failed.length) throw new Error(failed.join("\n"));
      dialog.close();
      done(answer);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      agree.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function offerChanges() {
  const bar = document.querySelector(".chosen-runs");
  if (bar) {
    const place = bar.closest("[data-run-table]");
    let selected = [];
    const buttons = ["tag", "note", "stop", "remove"].map((kind) => element("button", {
      type: "button", disabled: "", text: KINDS_OF_CHANGES[kind].button,
      onclick: () => confirmChange(kind, selected, "", () => place.dispatchEvent(new CustomEvent("stale"))),
    }));
    place.addEventListener("selected", (event) => {
      selected = event.detail;
      for (const button of buttons) button.disabled = !selected.length;
    });
    bar.append(...buttons);
  }
  const own = document.querySelector("[data-changes]");
  if (own) {
    const run = own.dataset.changes;
    const after = { remove: () => { location.href = `${PREFIX}/runs`; } };
    for (const kind of own.dataset.kinds.split(" ")) {
      const text = kind === "note" ? own.dataset.note : "";
      const act = () => confirmChange(kind, [run], text, after[kind] ?? (() => location.reload()));
      own.append(element("button", { type: "button", text: KINDS_OF_CHANGES[kind].button, onclick: act }));
    }
  }
  for (const button of document.querySelectorAll("[data-restore]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      const answer = await ask("restore", { runs: [button.dataset.restore] }).catch((error) => ({ failed: { "": error.message } }));
      const [why] = Object.values(answer.failed);
      if (why) button.after(element("p", { class: "notice failed", role: "alert", text: why }));
      else location.reload();
    });
  }
}

if (SECRET) offerChanges();
