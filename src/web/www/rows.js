// What there is of a camera's time, asked of the API, as strip.js draws it.

import { get } from './api.js';

const SECOND = 1000;
/** Most rows of a kind that are asked for at once: a week of a camera is shown by its newest. */
const ROWS = 1000;

const time = (text) => Date.parse(text);
export const iso = (ms) => new Date(ms).toISOString();
/** A row of the API in milliseconds; what goes on ends now. */
export const span = (row) => ({ ...row, from: time(row.start), to: row.end === null ? Date.now() : time(row.end) });
export const nothing = () => ({ recordings: [], events: [], gaps: [], score: { from: 0, step: SECOND, points: [] } });

/** Rows of recordings, over so many pages at most. */
async function recordingsOf(query, pages) {
  const rows = [];
  let cursor = '';
  for (let page = 0; page < pages; page += 1) {
    const { recordings, next } = await get(`/api/recordings?${query}&limit=${ROWS}${cursor}`, { quiet: true });
    rows.push(...recordings);
    if (next === null) break;
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
  return rows;
}

/** Recordings (of so many pages), events, gaps and score of a camera in a view, `{from, to}` in milliseconds. */
export async function rowsOf(name, view, pages = 1) {
  const query = `camera=${encodeURIComponent(name)}&from=${iso(view.from)}&to=${iso(view.to)}`;
  const quiet = { quiet: true };
  const [recordings, events, gaps, score] = await Promise.all([
    recordingsOf(query, pages),
    get(`/api/events?${query}&limit=${ROWS}`, quiet),
    get(`/api/gaps?${query}&limit=${ROWS}`, quiet),
    get(`/api/cameras/${encodeURIComponent(name)}/score?from=${iso(view.from)}&to=${iso(view.to)}`, quiet),
  ]);
  return {
    recordings: recordings.map(span).reverse(),
    events: events.events.map(span),
    gaps: gaps.gaps.map(span),
    score: { from: time(score.from), step: score.step_s * SECOND, points: score.score },
  };
}
