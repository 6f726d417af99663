// The picture of a moment, shown beside the pointer or the keyboard's place. It is asked for when that has been still
// for a moment, and never more than one at a time.

import { el, one } from './dom.js';

const STILL_MS = 120;
const EDGE = 8;

const words = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const picture = el('img', { alt: '', width: 240, height: 135 });
const said = el('figcaption');
// What it shows can be played from the same place; its time is the strip's own to say.
const card = el('figure', { class: 'preview', id: 'preview', hidden: true, 'aria-hidden': 'true' }, picture, said);
one('#main').append(card);

let wanted = null;
let isAsking = false;
let timer = 0;

const key = (what) => (what ? `/api/cameras/${encodeURIComponent(what.camera)}/thumbnail.jpg?at=${new Date(what.at).toISOString()}` : '');

/** Shows what `camera` saw `at` a moment above `box`, the strip's, at `x` of the window; `isRecorded`: there is a picture. */
export function show(camera, at, isRecorded, box, x) {
  said.textContent = isRecorded ? words.format(at) : `${words.format(at)}: not recorded`;
  card.hidden = false;
  card.classList.toggle('is-empty', !isRecorded);
  // Until the next has come the last one stays, dimmed; but not another camera's.
  if (picture.dataset.camera !== camera) picture.classList.remove('is-there');
  const half = card.offsetWidth / 2;
  card.style.left = `${Math.max(EDGE, Math.min(x - half, innerWidth - 2 * half - EDGE))}px`;
  const above = box.top - card.offsetHeight - EDGE;
  card.style.top = `${above > 0 ? above : box.bottom + EDGE}px`;
  wanted = isRecorded ? { camera, at } : null;
  dim();
  clearTimeout(timer);
  timer = setTimeout(ask, STILL_MS);
}

const dim = () => picture.classList.toggle('is-old', picture.dataset.of !== key(wanted));

export function hide() {
  clearTimeout(timer);
  wanted = null;
  card.hidden = true;
}

function ask() {
  const address = key(wanted);
  if (isAsking || address === '' || picture.dataset.of === address) return;
  isAsking = true;
  const { camera } = wanted;
  const done = (isThere) => {
    isAsking = false;
    picture.dataset.of = isThere ? address : '';
    picture.dataset.camera = camera;
    picture.classList.toggle('is-there', isThere && wanted?.camera === camera);
    dim();
    // It may have moved on meanwhile; one that failed is not asked for again until it does.
    if (key(wanted) !== address) ask();
  };
  picture.onload = () => done(true);
  picture.onerror = () => done(false);
  picture.src = address;
}
