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

/** Sets or removes an attribute that says yes or no. */
export const flag = (element, name, is) => element.toggleAttribute(name, Boolean(is));

/** A moment of the API in the reader's own time. */
export function localTime(text, options = { dateStyle: 'short', timeStyle: 'medium' }) {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? text : new Intl.DateTimeFormat(undefined, options).format(moment);
}

/** Moments as the server wrote them, in the reader's own time. */
export function localTimes(within = document) {
  for (const moment of all('time[datetime]', within)) {
    moment.title = moment.textContent;
    moment.textContent = localTime(moment.dateTime);
  }
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
