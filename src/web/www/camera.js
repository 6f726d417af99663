// One camera: its state and picture kept fresh, its day, and the editor of its file.

import './shell.js';
import './actions.js';
import { ask } from './api.js';
import { all, el, one, toast } from './dom.js';
import { keepFresh } from './fresh.js';
import { keys } from './keys.js';
import { drawRates, ratesOf, told } from './rate.js';
import { rowsOf } from './rows.js';
import { draw } from './strip.js';

const { camera } = one('#camera').dataset;
const path = `/api/cameras/${encodeURIComponent(camera)}`;
const DAY_MS = 86400 * 1000;

/* ---- state and day ---- */

const canvas = one('#day');
const rate = one('#rate');
/** So many pages of recordings a day: a thousand each. */
const PAGES = 10;
let day = null;

function drawDay() {
  if (!day) return;
  draw(canvas, day.view, day.data, null);
  drawRates(rate, day.view, day.rates);
}

async function showDay() {
  const view = { from: Date.now() - DAY_MS, to: Date.now() };
  const data = await rowsOf(camera, view, PAGES);
  day = { view, data, rates: ratesOf(data.recordings) };
  canvas.setAttribute('aria-label', `${camera}, the last 24 hours: ${data.recordings.length} recordings, `
    + `${data.events.length} events, ${data.gaps.length} gaps`);
  one('#rate-says').textContent = told(day.rates);
  drawDay();
}

new ResizeObserver(drawDay).observe(canvas);
// The theme's colours are in the drawings.
new MutationObserver(() => requestAnimationFrame(drawDay)).observe(document.documentElement, { attributes: true });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => requestAnimationFrame(drawDay));
showDay().catch((problem) => toast(problem.message, 'bad'));

keepFresh('#state, #gaps', (event) => {
  if (event.event === 'camera_removed' && event.camera === camera) location.href = '/cameras';
  if (event.camera === camera && ['recording_closed', 'motion_ended', 'gap'].includes(event.event)) showDay().catch(() => {});
  return event.camera === camera;
});

/* ---- the editor ---- */

const form = one('#editor');

function edit() {
  const text = one('#config');
  const lines = one('#config-lines');
  const list = one('#config-faults');
  let saved = text.value;
  let { etag } = form.dataset;

  /** The number of each line, those with a fault marked. */
  const number = () => {
    const bad = new Set(all('li', list).map((item) => Number(item.dataset.line)));
    const count = text.value.split('\n').length;
    const rows = Array.from({ length: count }, (_, n) => el('span', bad.has(n + 1) ? { class: 'bad' } : {}, `${n + 1}\n`));
    lines.replaceChildren(...rows);
    lines.scrollTop = text.scrollTop;
    text.setAttribute('aria-invalid', bad.size > 0);
  };

  /** Puts the cursor where a fault is. */
  const goTo = (line, column) => {
    const before = text.value.split('\n').slice(0, line - 1).reduce((length, row) => length + row.length + 1, 0);
    const at = before + column - 1;
    text.focus();
    text.setSelectionRange(at, at);
    const height = text.scrollHeight / text.value.split('\n').length;
    text.scrollTop = Math.max(0, (line - 4) * height);
  };

  const link = (item) => {
    const { line, column } = item.dataset;
    const words = item.textContent;
    item.replaceChildren(el('button', { type: 'button', onclick: () => goTo(Number(line), Number(column)) }, words));
  };

  const show = (faults) => {
    list.replaceChildren(...faults.map(({ line, column, what, hint }) => {
      const words = `line ${line}, column ${column}: ${what}${hint ? ` (${hint})` : ''}`;
      const item = el('li', { 'data-line': line, 'data-column': column }, words);
      link(item);
      return item;
    }));
    number();
    if (faults.length > 0) goTo(faults[0].line, faults[0].column);
  };

  const save = async () => {
    const sent = text.value;
    const button = one('button[type="submit"]', form);
    button.disabled = true;
    try {
      const headers = { 'Content-Type': 'application/yaml', 'If-Match': etag };
      const answer = await ask('PUT', `${path}/config`, { body: sent, headers, quiet: true });
      ({ etag } = answer);
      saved = sent;
      show([]);
      toast(answer.applied ? 'Saved, and taken up.' : 'Saved; it is taken up in a moment.', 'good');
    } catch (problem) {
      const faults = problem.body?.faults ?? [];
      show(faults);
      if (faults.length === 0) toast(problem.message, 'bad');
    } finally {
      button.disabled = false;
    }
  };

  all('li', list).forEach(link);
  number();
  text.addEventListener('input', number);
  text.addEventListener('scroll', () => { lines.scrollTop = text.scrollTop; });
  text.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 's') {
      event.preventDefault();
      save();
    }
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    save();
  });
  form.addEventListener('reset', (event) => {
    event.preventDefault();
    text.value = saved;
    number();
  });
  window.addEventListener('beforeunload', (event) => { if (text.value !== saved) event.preventDefault(); });
  keys('e', ['e'], 'Edit the configuration', () => text.focus());
  if (location.hash === '#config') text.focus();
}

if (form) edit();
