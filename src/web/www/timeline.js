// The timeline: what was recorded when, of all cameras, and playing from any moment on, over the files' borders.

import './shell.js';
import { get, listen } from './api.js';
import { copyLink, el, one, toast } from './dom.js';
import { keys } from './keys.js';
import * as preview from './preview.js';
import { iso, nothing, rowsOf, span } from './rows.js';
import { draw } from './strip.js';

const SECOND = 1000;
const SHORTEST_MS = 10 * SECOND;
const LONGEST_MS = 14 * 86400 * SECOND;
/** After a change of the view, data is asked for when it has been still for so long. */
const STILL_MS = 150;
/** Between two files of a camera that follow each other there is no more than this. */
const SEAM_MS = 1500;
/** A click within so many pixels of where the pointer went down is no drag. */
const DRAG_PIXELS = 4;

const video = one('#video');
const strips = one('#strips');
const lengthChoice = one('#length');
/** By camera: its canvas and what is drawn there. */
const rows = new Map();
const view = { from: 0, to: 0 };
/** What plays: `{camera, recording, from}`; where it is, is the video's. */
let playing = null;
let asked = 0;

const time = (text) => Date.parse(text);
const position = () => (playing ? playing.recording.from + video.currentTime * SECOND : null);

/* ---- what is shown ---- */

const words = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

function show() {
  one('#span').textContent = `${words.format(view.from)} – ${words.format(view.to)}`;
  const at = position();
  for (const [name, row] of rows) draw(row.canvas, view, row.data, playing?.camera === name ? at : null);
  if (focused) previewAtFocus();
}

function look(from, to) {
  const length = Math.min(Math.max(to - from, SHORTEST_MS), LONGEST_MS);
  const middle = (from + to) / 2;
  // Half of it may lie ahead, so that now can be in the middle.
  const end = Math.min(middle + length / 2, Date.now() + length / 2);
  view.from = end - length;
  view.to = end;
  const choice = [...lengthChoice.options].find((option) => Math.abs(option.value * SECOND - length) < SECOND);
  lengthChoice.value = choice ? choice.value : '';
  show();
  clearTimeout(asked);
  asked = setTimeout(() => [...rows.keys()].forEach(load), STILL_MS);
}

function lookAtNow(length) {
  const ahead = length * 0.02;
  look(Date.now() + ahead - length, Date.now() + ahead);
}

async function load(name) {
  const row = rows.get(name);
  const since = (row.loads += 1);
  try {
    const data = await rowsOf(name, view);
    if (since !== row.loads) return;
    row.data = data;
    const { length } = row.data.events;
    row.canvas.setAttribute('aria-label', `${name}: ${row.data.recordings.length} recordings, ${length} events`);
    row.item.dataset.loaded = '';
    show();
  } catch (problem) {
    toast(`${name}: ${problem.message}`, 'bad');
  }
}

/* ---- playing ---- */

/** The recording that holds a moment, or the next one after it. */
async function recordingAt(camera, at) {
  const before = await get(`/api/recordings?camera=${encodeURIComponent(camera)}&from=${iso(at)}&to=${iso(at + 1)}&limit=1`);
  if (before.recordings.length > 0) return span(before.recordings[0]);
  const known = rows.get(camera)?.data.recordings ?? [];
  return known.find((recording) => recording.from >= at) ?? null;
}

async function play(camera, at, { paused = false } = {}) {
  const recording = await recordingAt(camera, at);
  if (!recording) {
    toast(`Nothing of ${camera} is recorded from ${words.format(at)} on.`);
    return;
  }
  start(camera, recording, Math.max(0, at - recording.from) / SECOND, paused);
}

function start(camera, recording, second, paused) {
  const isSame = playing?.recording.id === recording.id;
  playing = { camera, recording };
  one('#player').hidden = false;
  const address = `/api/recordings/${recording.id}/video.mp4`;
  one('#download').href = address;
  // Seconds in the address work before the file's length is known.
  if (!isSame) video.src = `${address}#t=${second.toFixed(3)}`;
  else video.currentTime = second;
  video.playbackRate = Number(one('#speed').value);
  if (!paused) video.play().catch(() => {});
  say();
}

function say() {
  const at = position();
  if (at === null) return;
  one('#playing').textContent = `${playing.camera}, ${words.format(at)}`;
  show();
}

/** At the end of a file the next one goes on, where one follows. */
async function goOn() {
  const { camera, recording } = playing;
  const next = await recordingAt(camera, recording.to + SEAM_MS);
  if (next && next.id !== recording.id) start(camera, next, 0, false);
}

function step(pictures) {
  const fps = rows.get(playing?.camera)?.fps || 15;
  video.pause();
  video.currentTime = Math.max(0, video.currentTime + pictures / fps);
}

video.addEventListener('timeupdate', say);
video.addEventListener('seeked', say);
video.addEventListener('ended', goOn);
video.addEventListener('loadedmetadata', () => { video.playbackRate = Number(one('#speed').value); });
video.addEventListener('error', () => toast('The browser can’t play this recording; download it instead.', 'bad'));
one('#speed').addEventListener('change', () => { video.playbackRate = Number(one('#speed').value); });
one('#frame-back').addEventListener('click', () => step(-1));
one('#frame-on').addEventListener('click', () => step(1));
one('#share').addEventListener('click', async () => {
  const link = new URL(location.href);
  link.hash = new URLSearchParams({ camera: playing.camera, at: iso(position()) }).toString();
  history.replaceState(null, '', link);
  await copyLink(link.href, 'this moment');
});

/* ---- pointer and keys ---- */

const timeAt = (canvas, x) => {
  const box = canvas.getBoundingClientRect();
  return view.from + ((x - box.left) / box.width) * (view.to - view.from);
};

/** The strip that the keyboard is at. */
let focused = null;

/** The moment from which the keyboard plays a camera. */
const focusOf = (name) => (playing?.camera === name ? position() : (view.from + view.to) / 2);

function previewAt(name, at, x) {
  const { canvas, data } = rows.get(name);
  const isRecorded = data.recordings.some(({ from, to }) => from <= at && at < to);
  preview.show(name, at, isRecorded, canvas.getBoundingClientRect(), x);
}

function previewAtFocus() {
  const box = rows.get(focused).canvas.getBoundingClientRect();
  const at = focusOf(focused);
  previewAt(focused, at, box.left + ((at - view.from) / (view.to - view.from)) * box.width);
}

function zoom(factor, around = (view.from + view.to) / 2) {
  const length = Math.min(Math.max((view.to - view.from) * factor, SHORTEST_MS), LONGEST_MS);
  const share = (around - view.from) / (view.to - view.from);
  look(around - length * share, around + length * (1 - share));
}

const move = (share) => {
  const by = (view.to - view.from) * share;
  look(view.from + by, view.to + by);
};

function listenTo(name, canvas) {
  let drag = null;
  canvas.addEventListener('pointerdown', (event) => {
    drag = { x: event.clientX, from: view.from, to: view.to, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag) {
      if (event.pointerType !== 'touch') previewAt(name, timeAt(canvas, event.clientX), event.clientX);
      return;
    }
    const pixels = event.clientX - drag.x;
    if (!drag.moved && Math.abs(pixels) < DRAG_PIXELS) return;
    drag.moved = true;
    preview.hide();
    const by = -(pixels / canvas.clientWidth) * (drag.to - drag.from);
    look(drag.from + by, drag.to + by);
  });
  canvas.addEventListener('pointerup', (event) => {
    if (drag && !drag.moved) play(name, timeAt(canvas, event.clientX));
    drag = null;
  });
  canvas.addEventListener('pointerleave', preview.hide);
  canvas.addEventListener('focus', () => {
    if (!canvas.matches(':focus-visible')) return;
    focused = name;
    previewAtFocus();
  });
  canvas.addEventListener('blur', () => {
    focused = null;
    preview.hide();
  });
  canvas.addEventListener('pointercancel', () => { drag = null; });
  canvas.addEventListener('wheel', (event) => {
    if (event.ctrlKey || Math.abs(event.deltaY) < Math.abs(event.deltaX)) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(canvas, event.clientX));
  }, { passive: false });
  canvas.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    play(name, focusOf(name));
    event.preventDefault();
  });
}

keys('h', ['h', 'ArrowLeft'], 'Earlier', () => move(-0.25));
keys('l', ['l', 'ArrowRight'], 'Later', () => move(0.25));
keys('+', ['+', '='], 'Zoom in', () => zoom(0.5, position() ?? undefined));
keys('-', ['-'], 'Zoom out', () => zoom(2, position() ?? undefined));
keys('n', ['n'], 'Now', () => lookAtNow(view.to - view.from));
keys('k', ['k', ' '], 'Play or pause', () => {
  if (!playing) return false;
  return video.paused ? void video.play() : video.pause();
});
keys(',', [','], 'One picture back', () => (playing ? step(-1) : false));
keys('.', ['.'], 'One picture on', () => (playing ? step(1) : false));
one('#earlier').addEventListener('click', () => move(-0.5));
one('#later').addEventListener('click', () => move(0.5));
one('#now').addEventListener('click', () => lookAtNow(view.to - view.from));
lengthChoice.addEventListener('change', () => {
  const half = (lengthChoice.value * SECOND) / 2;
  const middle = position() ?? (view.from + view.to) / 2;
  look(middle - half, middle + half);
});
new ResizeObserver(show).observe(strips);

/* ---- start ---- */

for (const camera of await get('/api/cameras')) {
  const canvas = el('canvas', { tabindex: 0, role: 'button', 'aria-label': camera.name });
  const item = el('li', { class: 'strip', 'data-camera': camera.name }, el('span', { class: 'strip-name' }, camera.name), canvas);
  rows.set(camera.name, { canvas, item, data: nothing(), loads: 0, fps: camera.fps });
  listenTo(camera.name, canvas);
  strips.append(item);
}
if (rows.size === 0) strips.append(el('li', {}, 'No cameras yet.'));

const shared = new URLSearchParams(location.hash.slice(1));
const moment = time(shared.get('at'));
if (rows.has(shared.get('camera')) && !Number.isNaN(moment)) {
  look(moment - 1800 * SECOND, moment + 1800 * SECOND);
  play(shared.get('camera'), moment, { paused: true });
} else {
  lookAtNow(lengthChoice.value * SECOND);
}
// What is over by now is a row; what is far back is looked at in peace.
listen((event) => {
  const isSeen = ['recording_closed', 'motion_ended', 'gap'].includes(event.event) && view.to >= Date.now();
  if (isSeen && rows.has(event.camera)) load(event.camera);
});
