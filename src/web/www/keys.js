// Keys: those of every page, those that a page adds, and the card that shows them all.

import { el, one } from './dom.js';

const rows = [];
const actions = new Map();
let prefix = '';
let prefixTimer = 0;

const PREFIX_MS = 1200;

/** Adds a line to the card: keys as they are written on a keyboard, and what they do. */
export const describe = (label, words) => rows.push([label, words]);

/** Sets what a key does, named as events name it; `g w` is one after the other. */
export const onKey = (name, action) => actions.set(name, action);

/** Both, for keys that do the same. */
export function keys(label, names, words, action) {
  describe(label, words);
  for (const name of names) onKey(name, action);
}

/** Does the person write something now? */
function writes(target) {
  return target instanceof Element && target.closest('input, textarea, select, [contenteditable]') !== null;
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (one('dialog[open]') !== null) return;
  if (writes(event.target)) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const action = actions.get(prefix ? `${prefix} ${event.key}` : event.key);
  clearTimeout(prefixTimer);
  if (!action && !prefix && [...actions.keys()].some((name) => name.startsWith(`${event.key} `))) {
    prefix = event.key;
    prefixTimer = setTimeout(() => { prefix = ''; }, PREFIX_MS);
    return;
  }
  prefix = '';
  // An action that has nothing to do leaves the key to the browser.
  if (action && action(event) !== false) event.preventDefault();
});

/** Opens the card. */
export function showKeys() {
  const list = el('dl', { class: 'keys' });
  for (const [label, words] of rows) {
    const caps = label.split(' ').map((cap) => el('kbd', {}, cap));
    list.append(el('dt', {}, ...caps), el('dd', {}, words));
  }
  const close = el('button', { type: 'button', class: 'button', onclick: () => card.close() }, 'Close');
  const card = el('dialog', { class: 'card', 'aria-label': 'Keyboard shortcuts', onclose: () => card.remove() },
    el('h2', {}, 'Keyboard'), list, close);
  card.addEventListener('click', (event) => { if (event.target === card) card.close(); });
  document.body.append(card);
  card.showModal();
}
