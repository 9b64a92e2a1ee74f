// Links to the parts of a long page, where these stand in one column.
{
  const heads = [...document.querySelectorAll("main h2")].filter((head) => !head.closest("[hidden]"));
  heads.forEach((head, number) => { head.id = `part-${number}`; });
  const links = heads.map(({ id, firstChild }) => element("a", { href: `#${id}`, text: firstChild.textContent.trim() }));
  if (links.length > 3) document.querySelector("main > header")?.after(element("nav", { class: "contents", "aria-label": "Contents" }, ...links));
}
