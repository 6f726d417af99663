// Parts of a page that the server renders anew when something happens: what it says is written in one place only.

import { listen } from './api.js';
import { all, one, showTimes } from './dom.js';

/** Much that happens at a time is one reason to ask. */
const TOGETHER_MS = 400;
/** Rates change without a word. */
const SELDOM_MS = 10000;

/** Keeps the elements of a selector fresh; `concerns(event)` says which events are about it, `renewed` hears that it is new. */
export function keepFresh(selector, concerns, renewed = () => {}) {
  let timer = 0;
  const renew = async () => {
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: 'text/html' } });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const [olds, news] = [all(selector), all(selector, page)];
      if (olds.length !== news.length) return;
      olds.forEach((old, at) => {
        showTimes(news[at]);
        // Whoever is on a button stays there.
        const held = old.contains(document.activeElement) ? document.activeElement : null;
        old.replaceChildren(...document.importNode(news[at], true).childNodes);
        if (held?.dataset.act) one(`[data-act="${held.dataset.act}"][data-of="${held.dataset.of}"]`, old)?.focus();
      });
      renewed();
    } catch { /* the server is away: the next event tries again */ }
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(renew, TOGETHER_MS);
  };
  listen((event) => { if (concerns(event)) soon(); }, (is) => { if (is) soon(); });
  setInterval(() => { if (!document.hidden) renew(); }, SELDOM_MS);
  return renew;
}
