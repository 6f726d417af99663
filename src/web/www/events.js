// The list of events: what happens is put in by itself, and what a person does to an event.

import './shell.js';
import { ask, listen, servedPage } from './api.js';
import { agreed, all, copyLink, one, showTimes, toast } from './dom.js';
import { keys } from './keys.js';

/** What happens at one time is asked for at one time; a row is written a moment after it is told of. */
const SOON_MS = 300;
/** And once more, where the disk took longer. */
const LATER_MS = 3000;

const list = one('#events');
const form = one('#filter');
let timers = [];
let asked = 0;

/* ---- what is there ---- */

/** Puts the rows of the page, as it is served now, in place of those that are here. Rows that stay the same stay. */
async function renew() {
  const turn = (asked += 1);
  const page = await servedPage();
  if (!page || turn !== asked) return;
  const fresh = one('#events', page);
  const known = new Map([...list.children].map((row) => [row.dataset.event, row]));
  const came = [];
  let at = list.firstElementChild;
  for (const served of [...fresh.children]) {
    const old = known.get(served.dataset.event);
    if (old && old.dataset.is === served.dataset.is) {
      if (old === at) at = at.nextElementSibling;
      else list.insertBefore(old, at);
      continue;
    }
    const row = document.adoptNode(served);
    showTimes(row);
    if (old) {
      if (old === at) at = at.nextElementSibling;
      replace(old, row);
    } else {
      list.insertBefore(row, at);
      came.push(row);
    }
  }
  while (at) {
    const next = at.nextElementSibling;
    leave(at);
    at = next;
  }
  const more = one('#more', page);
  if (more.innerHTML !== one('#more').innerHTML) one('#more').replaceWith(document.adoptNode(more));
  if (came.length > 0) one('#news').textContent = `${came.length} new: ${came.map((row) => row.dataset.camera).join(', ')}`;
}

/** The keyboard stays where it was. */
function replace(old, row) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  old.replaceWith(row);
  if (focused) (one(focused.dataset.do ? `[data-do="${focused.dataset.do}"]` : '.event-time', row) ?? one('.event-time', row)).focus();
}

function leave(row) {
  const isFocused = row.contains(document.activeElement);
  const beside = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  if (isFocused) (beside ? one('.event-time', beside) : one('#main')).focus();
}

/** Pages of older events stay as they are. */
const isNewest = !new URLSearchParams(location.search).has('cursor');

function renewSoon() {
  timers.forEach(clearTimeout);
  timers = [SOON_MS, LATER_MS].map((wait) => setTimeout(renew, wait));
}

/* ---- what a person does ---- */

const linkOf = (row) => new URL(one('.event-time', row).href).href;

async function protect(row) {
  const method = one('.event-kept', row) ? 'DELETE' : 'POST';
  for (const id of row.dataset.recordings.split(' ')) await ask(method, `/api/recordings/${id}/protect`);
  await renew();
}

async function remove(row) {
  const when = one('time', row).textContent;
  const what = `The event of ${row.dataset.camera}, ${when}, and the recording that it made are deleted for good. A recording that also holds other events stays, and so does what is recorded without motion.`;
  if (!await agreed('Delete this event?', what, 'Delete')) return;
  const { deleted, kept } = await ask('DELETE', `/api/events/${row.dataset.event}`);
  const words = kept.length > 0 && deleted.length === 0 ? 'The event is deleted; its recording stays.' : 'The event is deleted.';
  toast(words, 'good');
  await renew();
}

/** Says of an event that it is one or a false alarm; said again, it is taken back. */
const judge = (verdict) => async (row) => {
  const isSaid = one(`[data-do="${verdict}"]`, row).getAttribute('aria-pressed') === 'true';
  await ask(isSaid ? 'DELETE' : 'PUT', `/api/events/${row.dataset.event}/label`, isSaid ? {} : { body: { verdict } });
  await renew();
};

const DEEDS = {
  protect,
  delete: remove,
  share: (row) => copyLink(linkOf(row), 'this event'),
  event: judge('event'),
  'not-event': judge('not-event'),
};

list.addEventListener('click', async (event) => {
  const button = event.target.closest('button[data-do]');
  if (!button) return;
  button.disabled = true;
  try {
    await DEEDS[button.dataset.do](button.closest('.event'));
  } catch {
    // A refusal was shown; what it is about may have changed meanwhile.
    await renew();
  } finally {
    button.disabled = false;
  }
});

/* ---- keys ---- */

const rowAt = () => document.activeElement?.closest?.('.event');

function step(by) {
  const rows = all('.event', list);
  if (rows.length === 0) return false;
  const at = rows.indexOf(rowAt());
  const next = rows[at < 0 ? 0 : Math.min(Math.max(at + by, 0), rows.length - 1)];
  one('.event-time', next).focus();
  next.scrollIntoView({ block: 'nearest' });
  return true;
}

const press = (what) => () => {
  const button = rowAt() && one(`[data-do="${what}"]`, rowAt());
  if (!button) return false;
  button.click();
  return true;
};

keys('j', ['j'], 'Next event', () => step(1));
keys('k', ['k'], 'Event before', () => step(-1));
keys('p', ['p'], 'Play', press('play'));
keys('c', ['c'], 'Copy the link', press('share'));
if (one('[data-do="protect"]')) keys('s', ['s'], 'Protect, or not', press('protect'));
if (one('[data-do="not-event"]')) {
  keys('r', ['r'], 'It is right', press('event'));
  keys('f', ['f'], 'It is a false alarm', press('not-event'));
}
if (one('[data-do="delete"]')) keys('x', ['x'], 'Delete (asks first)', press('delete'));

/* ---- which ---- */

// Times are the reader's own, and UTC in the address.
const pad = (number) => String(number).padStart(2, '0');
for (const field of all('[type="datetime-local"]', form)) {
  one('.zone', field.closest('label')).remove();
  if (!field.value) continue;
  const at = new Date(`${field.value}Z`);
  field.value = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}T${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}
form.addEventListener('formdata', ({ formData }) => {
  for (const [key, value] of [...formData]) {
    if (value === '') formData.delete(key);
    else if (key === 'from' || key === 'to') formData.set(key, new Date(value).toISOString());
  }
});

if (isNewest) {
  const HEARD = ['motion_started', 'motion_ended', 'recording_opened', 'recording_closed', 'found', 'lagged'];
  listen((event) => { if (HEARD.includes(event.event)) renewSoon(); }, (is) => { if (is) renewSoon(); });
}
