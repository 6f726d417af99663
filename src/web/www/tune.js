// Tuning a camera's detection: its values as a form, masks and zones on its picture, and what the last minutes would
// have been with them. Saving changes those keys in the camera's file and nothing else there.

import './shell.js';
import { ask, get, post } from './api.js';
import { el, localTime, one, toast, withCode } from './dom.js';
import { placesOn } from './places.js';
import { nothing, span } from './rows.js';
import { draw } from './strip.js';

const { camera } = one('#tune').dataset;
const path = `/api/cameras/${encodeURIComponent(camera)}`;

/** The keys as the API tells them, by name; and the values that are not the file's. */
let keys = new Map();
const changed = new Map();

const valueOf = (key) => (changed.has(key) ? changed.get(key) : keys.get(key)?.value);
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

/* ---- the values ---- */

function set(key, value) {
  if (same(value, keys.get(key).value)) changed.delete(key);
  else changed.set(key, value);
  one('#save').disabled = changed.size === 0;
  one('#undo').disabled = changed.size === 0;
}

const WITHOUT_FIELD = ['masks', 'zones'];

function field({ key, kind, meaning, value, values, least, most }) {
  const id = `value-${key.replaceAll('.', '-')}`;
  const name = key.replace(/^detect\./, '');
  const attributes = { id, name: key, 'aria-describedby': `${id}-meaning` };
  const whole = (event) => set(key, Number(event.target.value));
  let inputs;
  if (kind === 'flag') {
    inputs = [el('input', { ...attributes, type: 'checkbox', checked: value === true, onchange: (event) => set(key, event.target.checked) })];
  } else if (kind === 'choice') {
    inputs = [el('select', { ...attributes, onchange: (event) => set(key, event.target.value) },
      ...values.map((choice) => el('option', { selected: choice === value }, choice)))];
  } else if (kind === 'whole') {
    const number = el('input', { ...attributes, type: 'number', min: least, max: most, value, onchange: (event) => { slider.value = event.target.value; whole(event); } });
    const slider = el('input', { type: 'range', min: least, max: most, value, 'aria-label': name, oninput: (event) => { number.value = event.target.value; whole(event); } });
    inputs = [slider, number];
  } else {
    inputs = [el('input', { ...attributes, type: 'text', value: value ?? '', autocomplete: 'off', spellcheck: 'false', onchange: (event) => set(key, event.target.value.trim() || null) })];
  }
  return el('div', { class: 'value', 'data-kind': kind }, el('label', { for: id }, name), ...inputs,
    el('p', { class: 'muted', id: `${id}-meaning` }, ...withCode(meaning)));
}

const places = placesOn(one('#places').parentElement, one('#places-list'), (masks, zones) => {
  set('detect.masks', masks.length > 0 ? structuredClone(masks) : null);
  set('detect.zones', zones.length > 0 ? structuredClone(zones) : null);
});

function show() {
  one('#values').replaceChildren(...[...keys.values()].filter(({ kind }) => !WITHOUT_FIELD.includes(kind)).map(field));
  places.show(valueOf('detect.masks') ?? [], valueOf('detect.zones') ?? []);
}

async function load() {
  const told = await get(`${path}/tune`);
  keys = new Map(told.keys.map((key) => [key.key, key]));
  changed.clear();
  one('#save').disabled = true;
  one('#undo').disabled = true;
  show();
}

/** What changes in the file. */
function change() {
  const all = [...changed];
  return {
    set: Object.fromEntries(all.filter(([, value]) => value !== null)),
    remove: all.filter(([, value]) => value === null).map(([key]) => key),
  };
}

function refused(problem) {
  const faults = problem.body?.faults ?? [];
  const words = faults.length > 0 ? faults.map(({ what, hint }) => (hint ? `${what} (${hint})` : what)) : [problem.message];
  one('#faults').replaceChildren(...words.map((text) => el('li', { class: 'error' }, text)));
}

/* ---- what would have been ---- */

const WORDS = { kept: 'as now', gained: 'only with these', lost: 'no longer' };
let shown = null;

function drawBoth() {
  if (!shown) return;
  const view = { from: Date.parse(shown.from), to: Date.parse(shown.to) };
  for (const [name, words] of [['now', 'as it is'], ['then', 'with these values']]) {
    const canvas = one(`#strip-${name}`);
    canvas.setAttribute('aria-label', `${shown[name].length} events ${words}`);
    draw(canvas, view, { ...nothing(), events: shown[name].map(span) }, null);
  }
}

function tell(tried) {
  shown = tried;
  const count = (events, is) => events.filter((event) => event.change === is).length;
  const video = tried.seconds < 90 ? `${Math.round(tried.seconds)} seconds` : `${Math.round(tried.seconds / 60)} minutes`;
  one('#verdict').textContent = `With these, ${tried.then.length} ${tried.then.length === 1 ? 'event' : 'events'} in ${video} of video: `
    + `${count(tried.then, 'kept')} as now, ${count(tried.then, 'gained')} gained, ${count(tried.now, 'lost')} lost.`;
  const differ = [...tried.then.filter((event) => event.change === 'gained'), ...tried.now.filter((event) => event.change === 'lost')];
  differ.sort((a, b) => a.start.localeCompare(b.start));
  one('#found').replaceChildren(...differ.map((event) => {
    const moment = new URLSearchParams({ camera, at: event.start });
    const seconds = Math.max(Date.parse(event.end) - Date.parse(event.start), 0) / 1000;
    return el('li', { 'data-change': event.change }, el('a', { href: `/timeline#${moment}` }, localTime(event.start)),
      ` ${seconds.toFixed(1)} s, ${event.cause ?? 'motion'}: ${WORDS[event.change]}`);
  }), ...tried.faults.map((fault) => el('li', { class: 'error' }, fault)));
  one('#result').hidden = false;
  drawBoth();
}

async function tryThem() {
  const button = one('#try');
  button.disabled = true;
  button.textContent = 'Looking…';
  one('#faults').replaceChildren();
  try {
    tell(await post(`${path}/tune`, { body: { ...change(), minutes: Number(one('#minutes').value) }, quiet: true }));
  } catch (problem) {
    refused(problem);
  } finally {
    button.disabled = false;
    button.textContent = 'Try on what was recorded';
  }
}

async function save() {
  one('#faults').replaceChildren();
  one('#save').disabled = true;
  try {
    const { applied } = await ask('PATCH', `${path}/config`, { body: change(), quiet: true });
    toast(applied ? 'Saved, and taken up.' : 'Saved; it is taken up in a moment.', 'good');
    await load();
  } catch (problem) {
    one('#save').disabled = false;
    refused(problem);
  }
}

/* ---- the page ---- */

one('#values').addEventListener('submit', (event) => event.preventDefault());
one('#trial').addEventListener('submit', (event) => {
  event.preventDefault();
  tryThem();
});
one('#save').addEventListener('click', save);
one('#undo').addEventListener('click', () => load().catch(() => {}));
window.addEventListener('beforeunload', (event) => { if (changed.size > 0) event.preventDefault(); });
new ResizeObserver(drawBoth).observe(one('#tune'));

// The panes cost decoding: only who wants them has them.
const panes = one('#panes');
one('#panes-show').addEventListener('click', (event) => {
  const isShown = panes.hidden;
  panes.hidden = !isShown;
  event.target.setAttribute('aria-expanded', isShown);
  event.target.textContent = isShown ? 'Hide it' : 'Show it live';
  if (isShown) panes.src = `${path}/inspect.mjpeg`;
  else panes.removeAttribute('src');
});

load().catch(() => {});
