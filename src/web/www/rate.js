// How many bits a second were recorded, over a time. Draws what it is given; knows no API.

import { cleared } from './canvas.js';

const HEIGHT = 120;
/** Room for the words: above the highest rate, and below for the hours. */
const ABOVE = 20;
const BELOW = 20;
const HOUR_MS = 3600 * 1000;
/** What is shorter tells no rate. */
const LEAST_MS = 500;

/** The rate of each recording, as `{from, to, bits}`: bits a second from its first picture to its end. */
export function ratesOf(recordings) {
  return recordings
    .filter(({ from, to }) => to - from >= LEAST_MS)
    .map(({ from, to, bytes }) => ({ from, to, bytes, bits: (bytes * 8 * 1000) / (to - from) }));
}

/** Bits a second in words. */
export function rateInWords(bits) {
  const number = (value, digits) => value.toLocaleString(undefined, { maximumFractionDigits: digits });
  return bits < 10e6 ? `${number(bits / 1e3, 0)} kbit/s` : `${number(bits / 1e6, 1)} Mbit/s`;
}

function bytesInWords(bytes) {
  const [unit, name] = bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${(bytes / unit).toLocaleString(undefined, { maximumFractionDigits: 1 })} ${name}`;
}

function timeInWords(ms) {
  const minutes = Math.round(ms / 60000);
  if (minutes < 2) return `${Math.round(ms / 1000)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** What the rates say, for whoever does not see the drawing. */
export function told(rates) {
  if (rates.length === 0) return 'Nothing was recorded in the last 24 hours.';
  const sum = (of) => rates.reduce((all, rate) => all + of(rate), 0);
  const [bytes, ms] = [sum((rate) => rate.bytes), sum((rate) => rate.to - rate.from)];
  const bits = rates.map((rate) => rate.bits);
  return `${bytesInWords(bytes)} in ${timeInWords(ms)}: ${rateInWords((bytes * 8 * 1000) / ms)} on average, `
    + `from ${rateInWords(Math.min(...bits))} to ${rateInWords(Math.max(...bits))}.`;
}

/** Draws the rates into a canvas. `view` is `{from, to}` in milliseconds. */
export function drawRates(canvas, view, rates) {
  const { paint, width, colour, font } = cleared(canvas, HEIGHT);
  const across = (time) => ((time - view.from) / (view.to - view.from)) * width;
  const bottom = HEIGHT - BELOW;
  const highest = Math.max(...rates.map((rate) => rate.bits), 1);

  paint.font = `12px ${font}`;
  paint.fillStyle = colour('line');
  paint.fillRect(0, ABOVE, width, 1);
  paint.fillRect(0, bottom, width, 1);
  const first = new Date(view.from);
  first.setHours(Math.ceil((first.getHours() + first.getMinutes() / 60) / 6) * 6, 0, 0, 0);
  for (let hour = first; hour < view.to; hour = new Date(hour.getTime() + 6 * HOUR_MS)) {
    const at = across(hour.getTime());
    const words = hour.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
    const room = paint.measureText(words).width;
    paint.fillStyle = colour('line');
    paint.fillRect(at, ABOVE, 1, bottom - ABOVE);
    paint.fillStyle = colour('muted');
    paint.fillText(words, Math.min(Math.max(at - room / 2, 2), width - room - 2), HEIGHT - 5);
  }
  paint.fillStyle = colour('accent');
  for (const rate of rates) {
    // Whole pixels: what is short is seen, too.
    const left = Math.min(Math.floor(across(Math.max(rate.from, view.from))), width - 1);
    const right = Math.max(Math.ceil(across(Math.min(rate.to, view.to))), left + 1);
    const height = (rate.bits / highest) * (bottom - ABOVE);
    paint.fillRect(left, bottom - height, right - left, height);
  }
  paint.fillStyle = colour('muted');
  if (rates.length > 0) paint.fillText(rateInWords(highest), 6, ABOVE - 6);
}
