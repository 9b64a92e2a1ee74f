/* The search shows excerpts from `Search.texts` (docs/_generate/search.py), also where pages are opened as files, which
   may not fetch each other. "early stopping" finds headings such as early_stopping, too. Pages that tell of the past,
   or of other codes, come after those that say what is. */
"use strict";

const AROUND = 120;  // characters before and after what is searched for

const _placesOf = (text, phrases) => phrases.map((phrase) => text.toLowerCase().indexOf(phrase)).filter((at) => at >= 0);

const _excerpt = (text, at) => {
  const from = at > AROUND ? text.indexOf(" ", at - AROUND) + 1 : 0;
  const to = at + AROUND < text.length ? text.lastIndexOf(" ", at + AROUND) : text.length;
  return (from ? "… " : "") + text.slice(from, to).trim() + (to < text.length ? " …" : "");
};

const _addExcerpt = (item, phrases) => {
  const link = item.querySelector("a");
  const [page, heading] = link.getAttribute("href").split("#");
  const sections = Search.texts[page.replace(/\.html$/, "")] ?? { "": "" };
  const richest = Object.keys(sections).reduce((best, id) =>
    _placesOf(sections[id], phrases).length > _placesOf(sections[best], phrases).length ? id : best,
  );
  if (heading === undefined && richest) link.href = `${page}#${richest}`;
  const text = sections[heading ?? richest] ?? "";
  const paragraph = item.appendChild(document.createElement("p"));
  paragraph.className = "context";
  paragraph.textContent = _excerpt(text, heading === undefined ? (_placesOf(text, phrases)[0] ?? 0) : 0);
  phrases.forEach((phrase) => _highlightText(paragraph, phrase, "highlighted"));
};

const _later = ([page, , , , score]) => {
  if (/^(project|design)\//.test(page)) return 2;
  return score <= Scorer.term && /^(coming-from\/|benchmarks)/.test(page) ? 1 : 0;
};

const _titlesAndTerms = Search._performSearch;
Search._performSearch = (query, ...terms) => {
  const found = _titlesAndTerms(query, ...terms);
  const joined = query.trim().replace(/\s+/g, "_");
  const none = new Set();
  const results = joined === query.trim() ? found : [...found, ..._titlesAndTerms(joined, none, none, none, none)];
  return results.sort((one, other) => _later(other) - _later(one));  // the last is shown first
};

const _query = Search.query;
Search.query = (query) => {
  const words = splitQuery(query.toLowerCase());
  const stemmer = new Stemmer();
  const phrases = [words.join(" "), words.join("_"), ...words, ...words.map((word) => stemmer.stemWord(word))];
  new MutationObserver((changes) =>
    changes.forEach((change) =>
      change.addedNodes.forEach((node) => node.matches?.("li") && _addExcerpt(node, phrases)),
    ),
  ).observe(Search.output, { childList: true });
  _query(query);
};
