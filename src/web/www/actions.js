// Buttons that do something with a camera: `data-act` says what, `data-of` with which.

import { ask, post } from './api.js';
import { agreed, toast } from './dom.js';

const DONE = { restart: 'restarts', enable: 'is switched on', disable: 'is switched off' };

async function act(button) {
  const { act: what, of: name } = button.dataset;
  const path = `/api/cameras/${encodeURIComponent(name)}`;
  if (what === 'remove') {
    const words = 'Its file goes and it is no longer recorded. What is recorded already stays.';
    if (!await agreed(`Remove ${name}?`, words, 'Remove')) return;
    await ask('DELETE', path);
    location.href = '/cameras';
    return;
  }
  button.disabled = true;
  try {
    await post(`${path}/${what}`);
    toast(`${name} ${DONE[what]}.`, 'good');
  } finally {
    button.disabled = false;
  }
}

document.addEventListener('click', (event) => {
  const button = event.target instanceof Element && event.target.closest('[data-act]');
  // What was refused is told already.
  if (button) act(button).catch(() => {});
});
