// Masks and zones drawn on a camera's picture. Corners are shares of its width and height; knows no API.

import { el, one } from './dom.js';

const SVG = 'http://www.w3.org/2000/svg';
/** A polygon of fewer corners is none. */
const LEAST = 3;
/** So near to a corner, in pixels, is on it. */
const NEAR = 14;
/** Corners are as fine as a thousandth of the picture. */
const round = (share) => Math.round(Math.min(Math.max(share, 0), 1) * 1000) / 1000;

const shape = (tag, attributes) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

/**
 * Shows `masks` (polygons) and `zones` (`{name, polygon, …}`) and lets a person draw, move and remove them.
 * `changed(masks, zones)` is told after each change. Gives `show(masks, zones)`, for others' changes.
 */
export function placesOn(root, list, changed) {
  const drawing = one('#drawing', root);
  const help = one('#places-help');
  const done = one('#done');
  let masks = [];
  let zones = [];
  /** What is being drawn: `{kind, corners}`. */
  let draft = null;
  /** The corner that is being moved, and whether it was. */
  let held = null;

  const polygons = () => [...masks, ...zones.map((zone) => zone.polygon), ...(draft ? [draft.corners] : [])];
  const points = (corners) => corners.map(([x, y]) => `${x},${y}`).join(' ');

  const paint = () => {
    const area = (corners, kind) => shape(corners.length < LEAST ? 'polyline' : 'polygon', { points: points(corners), class: kind });
    drawing.replaceChildren(
      ...masks.map((corners) => area(corners, 'mask')),
      ...zones.map((zone) => area(zone.polygon, 'place')),
      ...(draft ? [area(draft.corners, `draft ${draft.kind}`)] : []),
      ...polygons().flat().map(([x, y]) => shape('line', { x1: x, y1: y, x2: x, y2: y, class: 'corner' })),
    );
  };

  const tell = () => {
    paint();
    write();
    changed(masks, zones);
  };

  /** Each place in words, to be changed without drawing. */
  const write = () => {
    const field = (words, value, set, attributes = {}) => el('label', {}, words,
      el('input', { value: value ?? '', autocomplete: 'off', spellcheck: 'false', onchange: (event) => { set(event.target.value.trim()); tell(); }, ...attributes }));
    const corners = (polygon, set) => field('Corners', points(polygon), (text) => {
      const read = text.split(/\s+/).map((corner) => corner.split(',').map(Number));
      if (read.length >= LEAST && read.every((corner) => corner.length === 2 && corner.every(Number.isFinite))) set(read.map((corner) => corner.map(round)));
    }, { class: 'corners' });
    const remove = (words, from, at) => el('button', { type: 'button', class: 'button danger', 'aria-label': `Remove ${words}`, onclick: () => { from.splice(at, 1); tell(); } }, 'Remove');
    const option = (zone, key) => (text) => {
      if (text === '') delete zone[key];
      else zone[key] = key === 'sensitivity' ? Number(text) : text;
    };
    list.replaceChildren(
      ...masks.map((polygon, at) => el('li', {}, el('strong', {}, `Mask ${at + 1}`),
        corners(polygon, (read) => { masks[at] = read; }), remove(`mask ${at + 1}`, masks, at))),
      ...zones.map((zone, at) => el('li', {}, field('Zone', zone.name, (text) => { zone.name = text; }),
        field('Least size', zone.min_area, option(zone, 'min_area'), { placeholder: '0.5%' }),
        field('Largest size', zone.max_area, option(zone, 'max_area'), { placeholder: '50%' }),
        field('Sensitivity', zone.sensitivity, option(zone, 'sensitivity'), { type: 'number', min: 1, max: 100, placeholder: '50' }),
        field('Stays for', zone.dwell, option(zone, 'dwell'), { placeholder: '2s' }),
        corners(zone.polygon, (read) => { zone.polygon = read; }), remove(`zone ${zone.name}`, zones, at))),
    );
  };

  const at = (event) => {
    const box = drawing.getBoundingClientRect();
    return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
  };

  const cornerAt = (event) => {
    const box = drawing.getBoundingClientRect();
    const far = ([x, y]) => Math.hypot(box.left + x * box.width - event.clientX, box.top + y * box.height - event.clientY);
    const near = polygons().flatMap((polygon) => polygon.map((corner, n) => ({ polygon, n, far: far(corner) })));
    return near.filter((corner) => corner.far < NEAR).sort((a, b) => a.far - b.far)[0] ?? null;
  };

  const end = () => {
    const { kind, corners } = draft ?? {};
    draft = null;
    done.hidden = true;
    help.textContent = 'Nothing counts in a mask. Events say which zones they touch.';
    if (!corners || corners.length < LEAST) return paint();
    if (kind === 'mask') masks.push(corners);
    else {
      const names = new Set(zones.map((zone) => zone.name));
      let number = zones.length + 1;
      while (names.has(`zone-${number}`)) number += 1;
      zones.push({ name: `zone-${number}`, polygon: corners });
    }
    return tell();
  };

  const begin = (kind) => () => {
    end();
    draft = { kind, corners: [] };
    done.hidden = false;
    help.textContent = 'Set its corners one after the other in the picture, then press Done.';
  };

  one('#add-mask').addEventListener('click', begin('mask'));
  one('#add-zone').addEventListener('click', begin('zone'));
  done.addEventListener('click', end);
  drawing.addEventListener('pointerdown', (event) => {
    held = cornerAt(event);
    if (held) drawing.setPointerCapture(event.pointerId);
    else if (draft) {
      draft.corners.push(at(event));
      paint();
    }
    event.preventDefault();
  });
  drawing.addEventListener('pointermove', (event) => {
    if (!held) return;
    held.polygon[held.n] = at(event);
    held.moved = true;
    paint();
  });
  drawing.addEventListener('pointerup', () => {
    const { moved, polygon } = held ?? {};
    held = null;
    if (moved && polygon !== draft?.corners) tell();
  });

  return {
    show(newMasks, newZones) {
      [masks, zones] = structuredClone([newMasks, newZones]);
      draft = null;
      done.hidden = true;
      paint();
      write();
    },
  };
}
