// What every page has: theme, keys, times in the reader's own zone. A page's script imports this first.

import { all, localTime, one } from './dom.js';
import { keys, showKeys } from './keys.js';

const THEMES = ['system', 'light', 'dark'];
const theme = one('#theme-next');

function chosenTheme() {
  return document.documentElement.dataset.theme ?? 'system';
}

function nameTheme() {
  const words = `Theme: ${chosenTheme()}`;
  theme.title = words;
  theme.setAttribute('aria-label', words);
}

theme.addEventListener('click', () => {
  const next = THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length];
  if (next === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem('theme', next);
  } catch { /* storage is switched off: it holds for this page then */ }
  nameTheme();
});
nameTheme();
theme.hidden = false;

one('#keys-open').addEventListener('click', showKeys);
one('#keys-open').hidden = false;

keys('?', ['?'], 'Show these keys', showKeys);
all('.nav a').forEach((link, at) => {
  const letter = link.dataset.nav[0];
  const words = link.querySelector('span').textContent;
  keys(`${at + 1}`, [`${at + 1}`, `g ${letter}`], `${words} (or g, ${letter})`, () => { location.href = link.href; });
});

for (const moment of all('time[datetime]')) {
  moment.title = moment.textContent;
  moment.textContent = localTime(moment.dateTime);
}
