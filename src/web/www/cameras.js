// The list of cameras, and the form for a new one: look at it first, then give it a name.

import './shell.js';
import './actions.js';
import { post } from './api.js';
import { one } from './dom.js';
import { keepFresh } from './fresh.js';

keepFresh('#cameras', (event) => event.camera !== undefined || event.event === 'config_refused');

const form = one('#add-form');

/** What the form says of the camera; empty fields are left out. */
function described() {
  const fields = ['source', 'username', 'password'].map((name) => [name, one(`#add-${name}`).value]);
  return Object.fromEntries(fields.map(([name, value]) => [name, name === 'password' ? value : value.trim()]).filter(([, value]) => value !== ''));
}

/** The last word of a name in the address, where it has one: a camera's own name is often there. */
function suggested(source) {
  try {
    const { hostname } = new URL(source);
    const word = hostname.split('.')[0].toLowerCase();
    return /^[a-z][a-z0-9_-]*$/.test(word) && word !== 'localhost' ? word : '';
  } catch {
    return '';
  }
}

function say(error) {
  one('#add-error').textContent = error;
}

async function look() {
  const button = one('#add-look');
  const found = one('#add-found');
  say('');
  found.hidden = true;
  button.disabled = true;
  button.textContent = 'Looking…';
  const camera = described();
  const picture = one('#add-picture');
  try {
    const seen = await post('/api/cameras/probe', { body: { ...camera, transport: one('#add-transport').value }, quiet: true });
    const rate = seen.fps === null ? '' : `, ${seen.fps} pictures a second`;
    const sound = seen.audio === null ? 'no sound' : `sound (${seen.audio})`;
    one('#add-says').textContent = `${seen.codec}, ${seen.width}x${seen.height}${rate}, ${sound}`;
    picture.src = `data:image/jpeg;base64,${seen.picture}`;
    picture.hidden = false;
  } catch (problem) {
    say(problem.message);
    // What is wrong with the address is no camera; what does not answer may be one that is off now.
    if (problem.status !== 422) return;
    one('#add-says').textContent = 'It can be added all the same, if it is off now.';
    picture.hidden = true;
  } finally {
    button.disabled = false;
    button.textContent = 'Look at it';
  }
  const name = one('#add-name');
  name.value ||= suggested(camera.source);
  found.hidden = false;
  name.focus();
}

async function save() {
  const button = one('#add-save');
  const name = one('#add-name').value;
  const transport = one('#add-transport').value;
  const set = transport === 'tcp' ? {} : { transport };
  say('');
  button.disabled = true;
  try {
    await post('/api/cameras', { body: { name, ...described(), set }, quiet: true });
    location.href = `/#${name}`;
  } catch (problem) {
    say(problem.message);
    one('#add-error').scrollIntoView({ block: 'center' });
  } finally {
    button.disabled = false;
  }
}

if (form) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    look();
  });
  one('#add-found').addEventListener('submit', (event) => {
    event.preventDefault();
    save();
  });
  // What was seen is of another address now.
  form.addEventListener('input', () => { one('#add-found').hidden = true; });
  // Who came for the form writes at once. A browser that scrolls there takes the focus away again, so after it.
  const begin = () => { if (location.hash === '#add') requestAnimationFrame(() => one('#add-source').focus()); };
  if (document.readyState === 'complete') begin();
  window.addEventListener('load', begin);
  window.addEventListener('hashchange', begin);
}
