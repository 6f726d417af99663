// Buttons that do something with a camera: `data-act` says what, `data-of` with which.

import { ask, post } from './api.js';
import { el, toast } from './dom.js';

const DONE = { restart: 'restarts', enable: 'is switched on', disable: 'is switched off' };

/** Asks a person before something that can't be undone. */
function confirmed(question, words, yes) {
  return new Promise((decide) => {
    const close = (is) => () => { card.close(); decide(is); };
    const card = el('dialog', { class: 'card', 'aria-label': question, onclose: () => { decide(false); card.remove(); } },
      el('h2', {}, question), el('p', {}, words),
      el('p', { class: 'actions' },
        el('button', { type: 'button', class: 'button danger', 'data-yes': true, onclick: close(true) }, yes),
        el('button', { type: 'button', class: 'button', autofocus: true, onclick: close(false) }, 'Cancel')));
    document.body.append(card);
    card.showModal();
  });
}

async function act(button) {
  const { act: what, of: name } = button.dataset;
  const path = `/api/cameras/${encodeURIComponent(name)}`;
  if (what === 'remove') {
    const words = 'Its file goes and it is no longer recorded. What is recorded already stays.';
    if (!await confirmed(`Remove ${name}?`, words, 'Remove')) return;
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
