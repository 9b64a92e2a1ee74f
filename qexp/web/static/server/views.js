// Views that are saved: a name for the address of a page, in the workspace where changes are allowed, else in this browser.
const OWN_VIEWS = `qexp views of ${document.body.dataset.workspace} at ${PREFIX}/`;

/** Name → address; none where the browser keeps nothing, or something else. */
function ownViews() {
  try {
    return JSON.parse(localStorage.getItem(OWN_VIEWS)) ?? {};
  } catch {
    return {};
  }
}

async function changeOwnViews(kind, { runs: [name], text }) {
  const { [name]: address_, ...others } = ownViews();
  if (kind === "view" && !name.trim()) throw new Error("write a name");
  if (kind === "view" && address_ !== undefined && address_ !== text) throw new Error(`there is a view '${name}' already; delete it on the start page, or choose another name`);
  localStorage.setItem(OWN_VIEWS, JSON.stringify(kind === "view" ? { ...others, [name.trim()]: text } : others));
  return { failed: {} };
}

const viewNow = () => `${location.pathname.slice(PREFIX.length + 1)}${location.search}`;
Object.assign(KINDS_OF_CHANGES, {
  view: {
    title: "Save: this view, under a name", words: "Name", field: "input", own: SECRET ? null : changeOwnViews,
    wanted: (name) => ({ runs: [name], text: viewNow() }),
  },
  forget: { title: "Delete: a view, and no run", wanted: () => ({}) },
  forgetHere: { title: "Delete: a view, and no run", wanted: () => ({}), own: changeOwnViews },
});

/** A button that saves what the page shows, and says where that is kept. */
function offerView(place) {
  const where = SECRET ? "It is kept in the workspace, for all who see its start page." : "It is kept in this browser alone, as this server only reads; qexp serve --allow-changes keeps views in the workspace.";
  const said = element("span", { class: "quiet", role: "status" });
  const saved = () => said.replaceChildren("Saved; it is on the ", element("a", { href: address("/"), text: "start page" }));
  const button = element("button", { type: "button", text: "Save this view…", onclick: () => confirmChange("view", [where], "", saved) });
  place.append(button, said);
}

function listViews(list) {
  const views = Object.entries(ownViews()).filter(([, where]) => /^(runs|compare|launches\/|studies\/)/.test(where));
  for (const [name, where] of views) {
    const remove = element("button", { type: "button", "data-forget": name, "data-here": "", "aria-label": `delete the view ${name}`, text: "Delete" });
    list.append(element("li", {}, element("a", { href: `${PREFIX}/${where}`, text: name }), " ◦ ", remove));
  }
  if (views.length) list.closest("section").hidden = document.querySelector("[data-here-only]").hidden = false;
  for (const button of list.querySelectorAll("[data-forget]")) {
    const kind = "here" in button.dataset ? "forgetHere" : "forget";
    button.addEventListener("click", () => confirmChange(kind, [button.dataset.forget], "", () => location.reload()));
  }
}

document.querySelectorAll("[data-views]").forEach(listViews);
const placeOfView = document.querySelector(".chosen-runs") ?? (/^(compare|studies\/)/.test(viewNow()) && document.querySelector("main > header"));
if (placeOfView) offerView(placeOfView);
