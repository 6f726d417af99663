// The live wall: a tile a camera, its state at a glance, its pictures while it can be seen.

import './shell.js';
import { get, listen, post } from './api.js';
import { all, el, flag, one, toast } from './dom.js';
import { describe, keys, onKey } from './keys.js';
import { Live } from './live.js';

/** Words for states, as the server has them. */
const WORDS = {
  starting: 'Starting', running: 'Live', degraded: 'Degraded', reconnecting: 'Reconnecting', backoff: 'No connection',
  disabled: 'Off', config_error: 'Config error', stopped: 'Stopped',
};
const DOWN = ['backoff', 'config_error', 'reconnecting'];
/** Pictures come in these states. */
const SENDS = ['running', 'degraded'];
/** Events that come together are answered with one question. */
const COALESCE_MS = 120;
const STATS_MS = 2000;
/** A tile that is only scrolled past asks for nothing. */
const SETTLE_MS = 120;

const wall = one('#wall');
const summary = one('#summary');
const filter = one('#filter');
const tiles = new Map();

// ---- tiles ----

class Tile {
  constructor(element) {
    this.element = element;
    this.name = element.dataset.camera;
    this.badge = one('.badge', element);
    this.error = one('.tile-error', element);
    this.link = one('.tile-link', element);
    this.time = el('span', { class: 'tile-time' });
    this.link.append(this.time);
    this.tools = this.#makeTools();
    element.append(
      el('div', { class: 'tile-marks' },
        el('span', { class: 'tile-mark recording' }, 'REC'), el('span', { class: 'tile-mark motion' }, 'Motion')),
      this.tools,
    );
    this.live = new Live(element, this.name, (kind) => this.#shown(kind));
    this.isSeen = false;
    this.camera = { state: element.dataset.state };
    this.kind = '';
    this.second = '';
  }

  #makeTools() {
    const record = el('button', { type: 'button', class: 'button', title: 'Record now (r)', onclick: () => this.record() }, 'Record');
    this.sound = el('button', { type: 'button', class: 'button', title: 'Sound (m)', 'aria-pressed': 'false', onclick: () => this.mute() }, 'Sound');
    const full = el('button', { type: 'button', class: 'button', title: 'Whole screen (f)', onclick: () => this.fullscreen() }, 'Full');
    const close = el('button', { type: 'button', class: 'icon', title: 'Back to the wall (Esc)', 'aria-label': 'Back to the wall', onclick: back }, '×');
    return el('div', { class: 'tile-tools' }, record, this.sound, full, close);
  }

  /** Takes what the API says of the camera. */
  update(camera) {
    this.camera = camera;
    const { element } = this;
    element.dataset.state = this.badge.dataset.state = camera.state;
    flag(element, 'data-motion', camera.motion);
    flag(element, 'data-recording', camera.recording);
    this.sound.hidden = !/mp4a|flac|opus/.test(camera.mime ?? '');
    if (!SENDS.includes(camera.state)) this.#rest();
    this.#say();
    this.watch();
  }

  /** Runs while it is seen and its camera sends. */
  watch() {
    if (this.isSeen && !document.hidden && SENDS.includes(this.camera.state)) this.live.start(this.camera.mime);
    else this.live.stop();
    if (this.isSeen && !SENDS.includes(this.camera.state)) this.#showStill();
  }

  #shown(kind) {
    if (this.kind !== kind) {
      this.kind = kind;
      this.element.dataset.shows = kind;
      this.element.classList.add('is-live');
      this.#say();
    }
    const second = clock.format(Date.now());
    if (second !== this.second) this.time.textContent = this.second = second;
  }

  #rest() {
    this.kind = '';
    delete this.element.dataset.shows;
    this.element.classList.remove('is-live');
  }

  /** What was seen last of a camera that sends nothing. */
  async #showStill() {
    // Without a codec no picture ever came.
    if (!this.camera.codec || one('video, canvas, img', this.element)) return;
    const still = el('img', { src: `/api/cameras/${this.name}/snapshot.jpg`, alt: `${this.name}, the last picture` });
    try {
      await still.decode();
      if (!one('video, canvas, img', this.element)) this.element.prepend(still);
    } catch { /* there is none */ }
  }

  #say() {
    const { camera } = this;
    // A camera that sends JPEGs is shown by all of them, any other by its keyframes.
    const isStills = camera.state === 'running' && this.kind === 'stills' && camera.codec !== 'mjpeg';
    this.badge.textContent = isStills ? 'Live, stills' : WORDS[camera.state] ?? camera.state;
    this.error.textContent = camera.error ?? camera.config_error ?? '';
    const stats = this.element.classList.contains('is-large') && camera.resolution
      ? `, ${camera.codec} ${camera.resolution}, ${camera.fps.toFixed(0)} fps, ${(camera.bitrate / 1e6).toFixed(1)} Mbit/s` : '';
    if (stats && SENDS.includes(camera.state)) this.badge.textContent += stats;
    const marks = [camera.motion && 'motion', camera.recording && 'recording'].filter(Boolean).join(', ');
    this.link.setAttribute('aria-label', `${this.name}: ${this.badge.textContent}${marks ? `, ${marks}` : ''}`);
  }

  enlarge(is) {
    this.element.classList.toggle('is-large', is);
    const video = one('video', this.element);
    if (!is && video) {
      video.muted = true;
      delete video.dataset.sound;
      this.sound.setAttribute('aria-pressed', 'false');
    }
    this.#say();
  }

  async record() {
    await post(`/api/cameras/${this.name}/trigger`);
    toast(`${this.name} records now.`, 'good');
  }

  mute() {
    const video = one('video', this.element);
    if (!video) return;
    video.muted = !video.muted;
    video.dataset.sound = video.muted ? 'off' : 'on';
    this.sound.setAttribute('aria-pressed', String(!video.muted));
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen?.().catch(() => toast('This browser has no whole screen for a picture.'));
  }
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const tile = tiles.get(target.dataset.camera);
    if (!tile) continue;
    clearTimeout(tile.settling);
    tile.isSeen = isIntersecting;
    if (isIntersecting && hasLoaded) tile.settling = setTimeout(() => tile.watch(), SETTLE_MS);
    else if (hasLoaded) tile.watch();
  }
});

let hasLoaded = false;

function adopt(element) {
  const tile = new Tile(element);
  tiles.set(tile.name, tile);
  seen.observe(element);
  return tile;
}

function makeTile(camera) {
  const { name, state } = camera;
  const element = el('li', { class: 'tile', id: name, 'data-camera': name, 'data-state': state },
    el('a', { class: 'tile-link', href: `#${name}` },
      el('span', { class: 'tile-name' }, name), el('span', { class: 'badge', 'data-state': state })),
    el('p', { class: 'tile-error' }));
  const next = all('.tile', wall).find((other) => other.dataset.camera > name);
  wall.insertBefore(element, next ?? null);
  return adopt(element);
}

function removeTile(tile) {
  tile.live.stop();
  seen.unobserve(tile.element);
  tile.element.remove();
  tiles.delete(tile.name);
}

// ---- what the API says ----

async function refresh() {
  let cameras;
  try {
    cameras = await get('/api/cameras', { quiet: true });
  } catch {
    return;
  }
  hasLoaded = true;
  const names = new Set(cameras.map((camera) => camera.name));
  for (const tile of [...tiles.values()]) if (!names.has(tile.name)) removeTile(tile);
  for (const camera of cameras) (tiles.get(camera.name) ?? makeTile(camera)).update(camera);
  summarize(cameras);
  applyFilter();
}

let refreshing = 0;
function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(refresh, COALESCE_MS);
}

function summarize(cameras) {
  const count = (is) => cameras.filter(is).length;
  const live = count((camera) => camera.state === 'running');
  const down = count((camera) => DOWN.includes(camera.state));
  const degraded = count((camera) => camera.state === 'degraded');
  const recording = count((camera) => camera.recording);
  const parts = [];
  if (cameras.length > 0) parts.push(el('span', {}, `${live} of ${cameras.length} live`));
  if (recording > 0) parts.push(el('span', {}, `${recording} recording`));
  if (degraded > 0) parts.push(el('span', { class: 'badge', 'data-state': 'degraded' }, `${degraded} degraded`));
  if (down > 0) parts.push(el('span', { class: 'badge', 'data-state': 'backoff' }, `${down} down`));
  summary.replaceChildren(...parts);
}

function connected(is) {
  if (is) refresh();
  else summary.replaceChildren(el('span', { class: 'badge', 'data-state': 'reconnecting' }, 'Tarsier does not answer; trying again'));
}

// ---- one large ----

const nameInAddress = () => decodeURIComponent(location.hash.slice(1));

function large() {
  return tiles.get(nameInAddress());
}

function back() {
  const name = nameInAddress();
  if (!name) return false;
  if (document.fullscreenElement) document.exitFullscreen();
  history.pushState(null, '', location.pathname);
  showLarge();
  tiles.get(name)?.link.focus();
  return true;
}

function showLarge() {
  const chosen = large();
  flag(wall, 'data-large', chosen);
  for (const tile of tiles.values()) tile.enlarge(tile === chosen);
  if (chosen) chosen.link.focus({ preventScroll: true });
}

addEventListener('hashchange', showLarge);
addEventListener('popstate', showLarge);
setInterval(() => { if (large() && !document.hidden) refresh(); }, STATS_MS);

// ---- size and filter ----

function setSize(size) {
  wall.dataset.size = size;
  for (const button of all('#sizes button')) button.setAttribute('aria-pressed', String(button.dataset.size === size));
}

function storedSize() {
  try { return localStorage.getItem('wall-size'); } catch { return null; }
}

function chooseSize(size) {
  setSize(size);
  try { localStorage.setItem('wall-size', size); } catch { /* it holds for this page then */ }
}

const SIZES = ['s', 'm', 'l'];
function stepSize(by) {
  const at = SIZES.indexOf(wall.dataset.size) + by;
  if (SIZES[at]) chooseSize(SIZES[at]);
}

for (const button of all('#sizes button')) button.addEventListener('click', () => chooseSize(button.dataset.size));

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  for (const { name, element } of tiles.values()) element.hidden = !name.includes(wanted);
}
filter.addEventListener('input', applyFilter);

// ---- keys ----

function shownTiles() {
  return all('.tile:not([hidden])', wall);
}

/** Moves to the tile in this direction; in the large view to the camera before or after. */
function move(right, down) {
  const list = shownTiles();
  if (list.length === 0) return false;
  const now = list.indexOf(document.activeElement?.closest?.('.tile') ?? large()?.element);
  if (large()) {
    const next = list[now + (right || down)];
    if (next) location.replace(`#${next.dataset.camera}`);
    return true;
  }
  if (now < 0) {
    one('.tile-link', list[0]).focus();
    return true;
  }
  const columns = list.filter((tile) => tile.offsetTop === list[0].offsetTop).length;
  const next = list[now + right + down * columns];
  if (next) one('.tile-link', next).focus();
  return true;
}

const current = () => large() ?? tiles.get(document.activeElement?.closest?.('.tile')?.dataset.camera);
const withCurrent = (action) => () => { const tile = current(); if (!tile) return false; action(tile); return true; };

describe('← ↑ → ↓', 'Go from picture to picture');
onKey('ArrowLeft', () => move(-1, 0));
onKey('ArrowRight', () => move(1, 0));
onKey('ArrowUp', () => move(0, -1));
onKey('ArrowDown', () => move(0, 1));
describe('Enter', 'Show one picture large');
keys('Esc', ['Escape'], 'Back to the wall', back);
keys('r', ['r'], 'Record this camera now', withCurrent((tile) => tile.record().catch(() => {})));
keys('f', ['f'], 'Whole screen', withCurrent((tile) => tile.fullscreen()));
keys('m', ['m'], 'Sound of the large picture', withCurrent((tile) => tile.mute()));
keys('/', ['/'], 'Filter by name', () => filter.focus());
describe('+ -', 'Larger or smaller pictures');
onKey('+', () => stepSize(1));
onKey('=', () => stepSize(1));
onKey('-', () => stepSize(-1));

// ---- begin ----

function sizeFor(count) {
  return count > 9 ? 's' : count > 4 ? 'm' : 'l';
}

all('.tile', wall).forEach(adopt);
setSize(storedSize() ?? sizeFor(tiles.size));
document.addEventListener('visibilitychange', () => { for (const tile of tiles.values()) tile.watch(); });
await refresh();
showLarge();
listen(refreshSoon, connected);
