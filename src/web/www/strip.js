// One camera's time as a strip: what is recorded, how much moved, events, gaps. Draws what it is given; knows no API.

import { cleared } from './canvas.js';

const HEIGHT = 46;
// Shares of the strip's height.
const BAR = 0.3;
const MARK = 0.14;
/** Least width in pixels of what would be too short to see. */
const LEAST = 2;
/** Scores below this share of the picture are drawn as nothing, 1 is full; in between by their logarithm. */
const LEAST_SCORE = 1e-4;

/** The strip's part from `from` to `to`, in pixels. */
function across(view, width, from, to) {
  const left = ((from - view.from) / (view.to - view.from)) * width;
  const right = ((to - view.from) / (view.to - view.from)) * width;
  return [left, Math.max(right - left, LEAST)];
}

/**
 * Draws into a canvas. `view` is `{from, to}` and `data` holds `recordings`, `events` and `gaps` as `{from, to}`, and
 * `score` as `{from, step, points}`; all in milliseconds. `at` is where the player is, or null.
 */
export function draw(canvas, view, data, at) {
  const { paint, width, colour } = cleared(canvas, HEIGHT);
  const bottom = HEIGHT * (1 - BAR);

  const box = (span, top, height, fill) => {
    const [left, wide] = across(view, width, span.from, Math.min(span.to, view.to));
    paint.fillStyle = fill;
    paint.fillRect(left, top, wide, height);
  };
  for (const recording of data.recordings) box(recording, bottom, HEIGHT * BAR, colour('strip-recorded'));
  for (const gap of data.gaps) {
    box(gap, bottom, HEIGHT * BAR, colour('strip-gap'));
    // Told by its shape, too: struck through.
    const [left, wide] = across(view, width, gap.from, Math.min(gap.to, view.to));
    paint.fillStyle = colour('surface');
    paint.fillRect(left, HEIGHT * (1 - BAR / 2) - 1, wide, 2);
  }
  paint.fillStyle = colour('strip-motion');
  data.score.points.forEach((share, n) => {
    if (!(share > LEAST_SCORE)) return;
    const from = data.score.from + n * data.score.step;
    const [left, wide] = across(view, width, from, from + data.score.step);
    const height = (1 - Math.log(share) / Math.log(LEAST_SCORE)) * (bottom - HEIGHT * MARK - 2);
    paint.fillRect(left, bottom - height, Math.max(wide, 1), height);
  });
  for (const event of data.events) box(event, 0, HEIGHT * MARK, colour('strip-event'));
  if (at !== null && at >= view.from && at <= view.to) {
    const [left] = across(view, width, at, at);
    paint.fillStyle = colour('ink');
    paint.fillRect(left - 1, 0, 2, HEIGHT);
  }
}
