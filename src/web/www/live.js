// Live pictures of one camera in an element: H.264 and H.265 as they come, through a MediaSource, where the browser
// can decode them; else the JPEGs that the server makes of keyframes.
//
// The server sends fragments without being asked, from the newest keyframe on; its first picture is shown at once,
// and then the player goes to the newest and stays less than a second behind it.

import { el } from './dom.js';

const Source = window.ManagedMediaSource ?? window.MediaSource;

/** How far behind the newest picture is good, is made up for by playing faster, and is skipped, in seconds. */
const GOOD_LAG = 0.35;
const FAST_LAG = 0.7;
const JUMP_LAG = 1.5;
const FAST_RATE = 1.05;
/** What was shown stays so long, in seconds: less memory for the browser. */
const KEEP = 12;
/** A keyframe's own time is less than this before the end of what was there before it, in seconds. */
const OVERLAP = 0.15;
/** Without a new picture for so long the player starts over, in milliseconds. */
const STALLED_MS = 8000;
const WATCH_MS = 1000;
/** So often decoding may fail before stills are shown instead. */
const MOST_FAILURES = 2;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10000;

/** Can this browser show this stream by itself? */
export function canPlay(mime) {
  return Boolean(mime && Source && Source.isTypeSupported(mime));
}

/**
 * Shows a camera in `box` while it is started. `shown(kind)` is told of each new picture: 'video' or 'stills'.
 */
export class Live {
  #box;
  #path;
  #mime;
  #shown;
  #player = null;
  #running = false;
  #failures = 0;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #newest = 0;

  constructor(box, camera, shown) {
    this.#box = box;
    this.#path = `/api/cameras/${camera}/live`;
    this.#shown = shown;
  }

  get running() { return this.#running; }

  /** What is asked for when this is called again while it runs: nothing, unless the stream has changed. */
  start(mime) {
    const changed = mime !== this.#mime;
    this.#mime = mime;
    if (changed) this.#failures = 0;
    if (this.#running && !changed) return;
    this.#running = true;
    this.#open();
  }

  /** Ends connection and decoder; the last picture stays. */
  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
    this.#player?.end();
    this.#player = null;
  }

  #open() {
    clearTimeout(this.#timer);
    this.#player?.end();
    const isVideo = canPlay(this.#mime) && this.#failures < MOST_FAILURES;
    const show = () => {
      this.#newest = performance.now();
      this.#wait = FIRST_WAIT_MS;
      this.#shown(isVideo ? 'video' : 'stills');
    };
    const over = (why) => {
      if (why === 'decode') this.#failures += 1;
      this.#again();
    };
    const Player = isVideo ? VideoPlayer : StillsPlayer;
    this.#player = new Player(this.#box, isVideo ? this.#path : `${this.#path}.mjpeg`, this.#mime, show, over);
    this.#newest = performance.now();
    this.#watch();
  }

  /** Starts over after a while. */
  #again() {
    if (!this.#running) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }

  #watch() {
    this.#timer = setTimeout(() => {
      // Stills come as seldom as keyframes do, so only a video that gets data and shows nothing has stalled.
      const isSilent = performance.now() - this.#newest > STALLED_MS;
      if (isSilent && this.#player?.isStalled()) this.#again();
      else this.#watch();
    }, WATCH_MS);
  }
}

function connect(path, heard, over) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace('http', 'ws');
  const socket = new WebSocket(address);
  socket.binaryType = 'arraybuffer';
  socket.onmessage = (message) => heard(message.data);
  socket.onclose = () => over('closed');
  return socket;
}

function disconnect(socket) {
  socket.onmessage = null;
  socket.onclose = null;
  socket.close();
}

/** The element of this kind in the box. It stays between players, so that its last picture does too. */
function surface(box, tag, attributes) {
  for (const other of box.querySelectorAll('video, canvas, img')) if (other.localName !== tag) other.remove();
  const found = box.querySelector(tag);
  if (found) return found;
  const made = el(tag, attributes);
  box.prepend(made);
  return made;
}

class VideoPlayer {
  #video;
  #source = new Source();
  #url;
  #buffer = null;
  #socket;
  #waiting = [];
  #keyTimes = [];
  #hasInit = false;
  #hasBegun = false;
  #isShown = false;
  #over;
  #show;
  #heard = 0;
  #callback = 0;

  constructor(box, path, mime, show, over) {
    this.#show = show;
    this.#over = (why) => { this.end(); over(why); };
    const name = box.dataset.camera;
    this.#video = surface(box, 'video', { muted: true, playsinline: true, tabindex: '-1', 'aria-label': `${name}, live` });
    this.#video.muted = this.#video.dataset.sound !== 'on';
    this.#video.disableRemotePlayback = true;
    this.#video.onerror = () => this.#over('decode');
    this.#url = URL.createObjectURL(this.#source);
    this.#source.addEventListener('sourceopen', () => {
      try {
        this.#buffer = this.#source.addSourceBuffer(mime);
      } catch {
        this.#over('decode');
        return;
      }
      this.#buffer.addEventListener('updateend', () => this.#step());
      this.#buffer.addEventListener('error', () => this.#over('decode'));
      this.#append();
    }, { once: true });
    this.#video.src = this.#url;
    this.#watchPictures();
    this.#socket = connect(path, (data) => this.#hear(new Uint8Array(data)), this.#over);
  }

  end() {
    if (!this.#url) return;
    disconnect(this.#socket);
    URL.revokeObjectURL(this.#url);
    this.#url = null;
    this.#waiting = [];
    this.#video.onerror = null;
    this.#video.cancelVideoFrameCallback?.(this.#callback);
    this.#keepPicture();
    this.#video.removeAttribute('src');
    this.#video.load();
  }

  isStalled() { return this.#heard > 0; }

  /** A video without a source shows nothing: what it showed last becomes its poster. */
  #keepPicture() {
    const video = this.#video;
    if (video.readyState < 2 || video.videoWidth === 0) return;
    const canvas = el('canvas');
    canvas.width = Math.min(video.videoWidth, 960);
    canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth);
    canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
    video.poster = canvas.toDataURL('image/jpeg', 0.8);
  }

  #watchPictures() {
    const shown = () => {
      this.#isShown = true;
      this.#heard = 0;
      this.#show();
    };
    if (this.#video.requestVideoFrameCallback) {
      const next = () => { shown(); this.#callback = this.#video.requestVideoFrameCallback(next); };
      this.#callback = this.#video.requestVideoFrameCallback(next);
    } else {
      this.#video.ontimeupdate = shown;
    }
    this.#video.onloadeddata = shown;
  }

  #hear(bytes) {
    this.#heard += 1;
    const isInit = boxName(bytes) === 'ftyp';
    if (isInit && this.#hasInit) {
      // Another stream: another size, codec or clock.
      this.#over('changed');
      return;
    }
    this.#hasInit ||= isInit;
    this.#waiting.push({ bytes, isKey: !isInit && beginsWithKey(bytes) });
    this.#append();
  }

  /** Appends what is there, at most up to the next keyframe, so that the keyframes' times are known. */
  #append() {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#waiting.length === 0 || this.#source.readyState !== 'open') return;
    if (this.#waiting[0].isKey && buffer.buffered.length > 0) {
      this.#keyTimes.push(buffer.buffered.end(buffer.buffered.length - 1));
    }
    // The very first picture goes in alone: it is shown before the rest is taken in.
    const next = this.#waiting.findIndex((piece, at) => at > 0 && (piece.isKey || !this.#hasBegun));
    const pieces = this.#waiting.splice(0, next < 0 ? this.#waiting.length : next);
    try {
      buffer.appendBuffer(joined(pieces));
    } catch (error) {
      this.#over(error.name === 'QuotaExceededError' ? 'full' : 'decode');
    }
  }

  #step() {
    const [buffer, video] = [this.#buffer, this.#video];
    if (!this.#url || buffer.updating) return;
    const ranges = buffer.buffered;
    if (ranges.length > 0) {
      const [start, end] = [ranges.start(ranges.length - 1), ranges.end(ranges.length - 1)];
      if (!this.#hasBegun) {
        this.#hasBegun = true;
        video.currentTime = start;
        video.play().catch(() => { /* refused until somebody touches the page; the picture is there */ });
      } else if (this.#isShown) {
        this.#follow(start, end);
      }
      if (this.#prune(ranges.start(0))) return;
    }
    this.#append();
  }

  /** Stays near the newest picture. */
  #follow(start, end) {
    const video = this.#video;
    const lag = end - video.currentTime;
    if (video.seeking) return;
    if (lag > JUMP_LAG || video.currentTime < start) {
      video.currentTime = Math.max(start, end - GOOD_LAG);
    }
    video.playbackRate = lag > FAST_LAG ? FAST_RATE : 1;
    if (video.paused) video.play().catch(() => {});
  }

  /** Lets old pictures go, whole GOPs of them: a cut inside one would take all that hangs on it. */
  #prune(oldest) {
    const limit = this.#video.currentTime - KEEP;
    const at = this.#keyTimes.findLastIndex((time) => time < limit);
    if (at < 0) return false;
    const end = this.#keyTimes[at] - OVERLAP;
    this.#keyTimes.splice(0, at + 1);
    if (end <= oldest) return false;
    this.#buffer.remove(0, end);
    return true;
  }
}

class StillsPlayer {
  #canvas;
  #socket;
  #busy = false;
  #next = null;
  #show;
  #ended = false;

  constructor(box, path, _mime, show, over) {
    this.#show = show;
    this.#canvas = surface(box, 'canvas', { role: 'img', 'aria-label': `${box.dataset.camera}, live stills` });
    this.#socket = connect(path, (data) => { this.#next = data; this.#draw(); }, () => { this.end(); over('closed'); });
  }

  end() {
    this.#ended = true;
    disconnect(this.#socket);
  }

  isStalled() { return false; }

  /** The newest picture; those that came while one was decoded are left out. */
  async #draw() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#next && !this.#ended) {
      const jpeg = this.#next;
      this.#next = null;
      try {
        const picture = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }));
        [this.#canvas.width, this.#canvas.height] = [picture.width, picture.height];
        this.#canvas.getContext('2d').drawImage(picture, 0, 0);
        picture.close();
        this.#show();
      } catch { /* a damaged picture; the next one comes */ }
    }
    this.#busy = false;
  }
}

const text = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const boxName = (bytes) => text(bytes, 4);

/** The video's track, as src/archive/mp4 numbers it. */
const VIDEO_TRACK = 1;

/** Does this message begin with a picture that stands for itself? The flags of its first sample say so. */
export function beginsWithKey(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 200));
  const find = (name) => {
    for (let at = 8; at < view.byteLength - 28; at += 1) if (bytes[at] === 0x74 && text(bytes, at) === name) return at;
    return -1;
  };
  const [header, run] = [find('tfhd'), find('trun')];
  if (header < 0 || run < 0 || view.getUint32(header + 8) !== VIDEO_TRACK) return false;
  const has = view.getUint32(run + 4);
  // Behind the count: the data's offset, then the first sample's flags, or its duration, its size and they.
  let at = run + 12 + (has & 0x1 ? 4 : 0);
  if (!(has & 0x4)) at += (has & 0x100 ? 4 : 0) + (has & 0x200 ? 4 : 0);
  return (view.getUint32(at) & 0x0001_0000) === 0;
}

function joined(pieces) {
  if (pieces.length === 1) return pieces[0].bytes;
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.bytes.length, 0));
  let at = 0;
  for (const { bytes } of pieces) {
    whole.set(bytes, at);
    at += bytes.length;
  }
  return whole;
}
