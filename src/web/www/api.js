// How pages ask the API: JSON in and out, its errors as toasts that say what to do, its events as they happen.

import { toast } from './dom.js';

/** What the API refused, in its own words. */
export class Problem extends Error {
  constructor(status, detail, body = {}) {
    super(detail);
    this.status = status;
    this.body = body;
  }
}

/**
 * Asks, and gives what the API says. A refusal is thrown as a Problem and shown as a toast, unless `quiet`.
 * `body` goes out as JSON, or as it is where it is text.
 */
export async function ask(method, path, { body, quiet = false, headers = {}, signal } = {}) {
  let problem;
  try {
    const isText = typeof body === 'string';
    const answer = await fetch(path, {
      method,
      signal,
      headers: { Accept: 'application/json', ...(body === undefined ? {} : { 'Content-Type': isText ? 'text/plain' : 'application/json' }), ...headers },
      body: body === undefined || isText ? body : JSON.stringify(body),
    });
    const isJson = /json/.test(answer.headers.get('Content-Type') ?? '');
    const said = isJson ? await answer.json() : await answer.text();
    if (answer.ok) return said;
    if (answer.status === 401) logIn();
    problem = new Problem(answer.status, said?.detail ?? `the server answered ${answer.status}`, isJson ? said : {});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    problem = new Problem(0, 'Tarsier does not answer (is it running? is the network up?)');
  }
  if (!quiet) toast(problem.message, 'bad');
  throw problem;
}

/** To the page to log in, and then back to this one. */
function logIn() {
  location.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
}

export const get = (path, options) => ask('GET', path, options);
export const post = (path, options) => ask('POST', path, options);

/** This page as it is served now, or null: the stream of events tells when the server is back. */
export async function servedPage() {
  try {
    const answer = await fetch(location.pathname + location.search, { headers: { Accept: 'text/html' } });
    if (answer.redirected) logIn();
    if (!answer.ok || answer.redirected) return null;
    return new DOMParser().parseFromString(await answer.text(), 'text/html');
  } catch {
    return null;
  }
}

const KINDS = [
  'camera_state', 'camera_removed', 'motion_started', 'motion_ended', 'found', 'recording_opened', 'recording_closed',
  'config_applied', 'config_refused', 'gap', 'alarm', 'lagged',
];
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;

/**
 * What happens from now on: `hear(event)` for each event, `connected(is)` when the stream comes and goes. A page that
 * nobody sees listens to nothing; after every silence `connected(true)` comes again, for the page to ask what it
 * missed. Returns what ends it.
 */
export function listen(hear, connected = () => {}, query = '') {
  let source = null;
  let wait = FIRST_WAIT_MS;
  let timer = 0;
  const stop = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const start = () => {
    stop();
    source = new EventSource(`/api/events${query}`);
    source.onopen = () => {
      wait = FIRST_WAIT_MS;
      connected(true);
    };
    source.onerror = () => {
      // A browser gives up on its own after a refusal, and tries too often after a restart.
      stop();
      connected(false);
      // It does not say why: a login may be over.
      ask('GET', '/api/me', { quiet: true }).catch(() => {});
      timer = setTimeout(start, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (message) => hear(JSON.parse(message.data)));
    }
  };
  const seen = () => (document.hidden ? stop() : source ?? start());
  document.addEventListener('visibilitychange', seen);
  seen();
  return () => {
    document.removeEventListener('visibilitychange', seen);
    stop();
  };
}
