// What every page has: theme, keys, times in the reader's own zone. A page's script imports this first.

import { all, one, showTimes } from './dom.js';
import { keys, showKeys } from './keys.js';

const THEMES = ['system', 'light', 'dark'];
const button = one('#theme-next');

function nameTheme() {
  const words = `Theme: ${window.theme.chosen}`;
  button.title = words;
  button.setAttribute('aria-label', words);
}

button.addEventListener('click', () => {
  window.theme.choose(THEMES[(THEMES.indexOf(window.theme.chosen) + 1) % THEMES.length]);
  nameTheme();
});
nameTheme();
button.hidden = false;

one('#keys-open').addEventListener('click', showKeys);
one('#keys-open').hidden = false;

keys('?', ['?'], 'Show these keys', showKeys);
all('.nav a').forEach((link, at) => {
  const letter = link.dataset.nav[0];
  const words = link.querySelector('span').textContent;
  keys(`${at + 1}`, [`${at + 1}`, `g ${letter}`], `${words} (or g, ${letter})`, () => { location.href = link.href; });
});

showTimes(document);
