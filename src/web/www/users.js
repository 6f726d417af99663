// Users and tokens: forms that say in themselves what was refused, and a token's secret, shown once.

import './shell.js';
import { ask, get, servedPage } from './api.js';
import { agreed, el, one, showTimes, toast } from './dom.js';

const people = one('#people');

/** The lists as they are served now. */
async function renew() {
  const page = await servedPage();
  if (!page) return;
  const fresh = one('#people', page);
  showTimes(fresh);
  people.replaceChildren(...fresh.childNodes);
}

/* ---- forms ---- */

const field = (label, input) => el('label', {}, label, input);

/** A card with a form. `send(data)` does what it is for; what is refused is said in the form, which stays. */
function form(title, fields, verb, send) {
  const wrong = el('p', { class: 'error', role: 'alert' });
  const cancel = el('button', { type: 'button', class: 'button', onclick: () => card.close() }, 'Cancel');
  const go = el('button', { type: 'submit', class: 'button primary' }, verb);
  const sheet = el('form', { class: 'sheet' }, el('h2', {}, title), ...fields, wrong, el('p', { class: 'card-tools' }, cancel, ' ', go));
  const card = el('dialog', { class: 'card', 'aria-label': title, onclose: () => card.remove() }, sheet);
  sheet.addEventListener('submit', async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await send(new FormData(sheet));
      card.close();
      await renew();
    } catch (problem) {
      wrong.textContent = problem.message;
    } finally {
      go.disabled = false;
    }
  });
  document.body.append(card);
  card.showModal();
}

/** Fields for a role and, for viewers, which cameras. `chosen`: null for all. */
async function scope(role, chosen) {
  const names = (await get('/api/cameras')).map((camera) => camera.name);
  // Those of a camera that has gone stay until somebody takes them away.
  const all = [...new Set([...names, ...(chosen ?? [])])].sort();
  const roles = el('select', { name: 'role' },
    el('option', { value: 'viewer', selected: role === 'viewer' }, 'viewer: looks, takes out, starts events'),
    el('option', { value: 'admin', selected: role === 'admin' }, 'admin: everything'));
  const box = (name) => el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'camera', value: name, checked: chosen?.includes(name) }), name);
  const every = el('input', { type: 'checkbox', name: 'every', checked: chosen === null });
  const some = el('div', { class: 'checks' }, ...all.map(box));
  const cameras = el('fieldset', {}, el('legend', {}, 'Cameras'), el('label', { class: 'check' }, every, 'All'), some);
  const fit = () => {
    cameras.hidden = roles.value === 'admin';
    some.hidden = every.checked;
  };
  roles.addEventListener('change', fit);
  every.addEventListener('change', fit);
  fit();
  return [field('Role', roles), cameras];
}

const scopeOf = (data) => ({
  role: data.get('role'),
  cameras: data.get('role') === 'admin' || data.has('every') ? null : data.getAll('camera'),
});

const nameField = (autocomplete) => field('Name', el('input', { type: 'text', name: 'name', required: true, autocomplete, autocapitalize: 'none', spellcheck: 'false' }));
const passwordField = () => field('Password, 8 characters at least', el('input', { type: 'password', name: 'password', required: true, minlength: 8, autocomplete: 'new-password' }));
const quiet = { quiet: true };
const userPath = (row) => `/api/users/${encodeURIComponent(row.dataset.user)}`;

/** The secret, until the person has it. */
function tell(name, secret) {
  const shown = el('input', { type: 'text', id: 'secret', readonly: true, value: secret, 'aria-label': 'The token' });
  const copy = el('button', { type: 'button', class: 'button primary', onclick: () => {
    shown.select();
    navigator.clipboard?.writeText(secret).then(() => toast('The token is in the clipboard.', 'good'), () => {});
  } }, 'Copy');
  const done = el('button', { type: 'button', class: 'button', onclick: () => card.close() }, 'Done');
  const card = el('dialog', { class: 'card', 'aria-label': `Token ${name}`, onclose: () => card.remove() },
    el('div', { class: 'sheet' }, el('h2', {}, `Token ${name}`), el('p', {}, 'Keep it: it is shown only now.'), shown,
      el('p', { class: 'card-tools' }, copy, ' ', done)));
  document.body.append(card);
  card.showModal();
  shown.select();
}

/* ---- what a person does ---- */

const DEEDS = {
  async add() {
    // The first has to be an admin.
    const isFirst = one('#nobody') !== null;
    form('Add a user', [nameField('off'), passwordField(), ...await scope(isFirst ? 'admin' : 'viewer', null)], 'Add', (data) =>
      ask('POST', '/api/users', { ...quiet, body: { name: data.get('name'), password: data.get('password'), ...scopeOf(data) } }));
  },
  async token() {
    const until = el('input', { type: 'datetime-local', name: 'expires' });
    form('Add a token', [nameField('off'), ...await scope('viewer', null), field('Until (for ever, if empty)', until)], 'Add', async (data) => {
      const expires = data.get('expires') ? new Date(data.get('expires')).toISOString() : null;
      const added = await ask('POST', '/api/tokens', { ...quiet, body: { name: data.get('name'), expires, ...scopeOf(data) } });
      tell(added.name, added.secret);
    });
  },
  async change(row) {
    const { user, role, cameras } = row.dataset;
    form(`Change ${user}`, await scope(role, cameras === undefined ? null : cameras.split(' ').filter(Boolean)), 'Save', (data) =>
      ask('PATCH', userPath(row), { ...quiet, body: scopeOf(data) }));
  },
  password(row) {
    form(`New password for ${row.dataset.user}`, [passwordField()], 'Save', (data) =>
      ask('PATCH', userPath(row), { ...quiet, body: { password: data.get('password') } }));
  },
  async remove(row) {
    const { user, token } = row.dataset;
    const words = user ? 'Their logins end at once.' : 'Programs that use it are shut out at once.';
    if (!await agreed(`Remove ${user ?? token}?`, words, 'Remove')) return;
    await ask('DELETE', user ? userPath(row) : `/api/tokens/${encodeURIComponent(token)}`);
    await renew();
  },
};

one('#main').addEventListener('click', (event) => {
  const button = event.target.closest('button[data-do]');
  // What was refused has been shown.
  if (button) Promise.resolve(DEEDS[button.dataset.do](button.closest('tr'))).catch(() => {});
});
