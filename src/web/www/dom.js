// The little that pages need to make and find elements. No framework: text is always text, never markup.

export const one = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element with attributes (`null` and `false` leave one out; `onclick` and the like listen) and children. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text in which what stands between backticks is code. */
export const withCode = (text) => text.split('`').map((part, n) => (n % 2 === 1 ? el('code', {}, part) : part));

/** Sets or removes an attribute that says yes or no. */
export const flag = (element, name, is) => element.toggleAttribute(name, Boolean(is));

/** A moment of the API in the reader's own time. */
export function localTime(text, options = { dateStyle: 'short', timeStyle: 'medium' }) {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? text : new Intl.DateTimeFormat(undefined, options).format(moment);
}

/** Shows the times within in the reader's own zone, and as they were served to whoever points at them. */
export function showTimes(within) {
  for (const moment of all('time[datetime]', within)) {
    moment.title = moment.textContent;
    moment.textContent = localTime(moment.dateTime);
  }
}

/** Puts an address into the clipboard, or tells where it is. */
export async function copyLink(address, what) {
  try {
    await navigator.clipboard.writeText(address);
    toast(`The link to ${what} is in the clipboard.`, 'good');
  } catch {
    // Browsers have a clipboard for pages of this machine and by HTTPS only.
    toast(`The link to ${what}: ${address}`);
  }
}

/** Asks before something that can't be taken back; true where the person agrees. */
export function agreed(question, words, verb) {
  return new Promise((done) => {
    const cancel = el('button', { type: 'submit', class: 'button', value: '', autofocus: true }, 'Cancel');
    const go = el('button', { type: 'submit', class: 'button danger', value: 'yes' }, verb);
    const form = el('form', { method: 'dialog' }, el('h2', {}, question), el('p', {}, words), el('p', { class: 'card-tools' }, cancel, ' ', go));
    const card = el('dialog', { class: 'card', 'aria-label': question }, form);
    card.addEventListener('close', () => {
      card.remove();
      done(card.returnValue === 'yes');
    });
    document.body.append(card);
    card.showModal();
  });
}

const TOAST_MS = 8000;

/** Says something at the edge of the page; `kind` is `bad`, `good` or nothing. It goes by itself, or when closed. */
export function toast(text, kind = '') {
  const close = el('button', { type: 'button', class: 'icon', 'aria-label': 'Close', onclick: () => line.remove() }, '×');
  const line = el('div', { class: `toast ${kind}` }, el('p', {}, text), close);
  const box = one('#toasts');
  // The same words again say nothing new.
  for (const old of box.children) if (old.firstChild.textContent === text) old.remove();
  box.append(line);
  setTimeout(() => line.remove(), TOAST_MS);
}
