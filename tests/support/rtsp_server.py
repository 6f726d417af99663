"""An RTSP server for the tests: plays encoded files in real time, byte for byte, as a camera would.

Usage: rtsp_server.py CONFIG.json   (Debian's python3 with gir1.2-gst-rtsp-server-1.0)

CONFIG is {"mounts": [{"name", "file", "fps", "loop", "audio", "video", "auth": "basic"|"digest"|null,
"user", "password", "join": "keyframe"|"now", "drop_keyframes"}]}. Every mount gets a server and a port of its
own, so that a count of connections is a count of one camera's connections, and a relay before it is one
camera's cable.

A mount is a camera: its clip begins to play when the first client connects, and goes on playing whoever is
there. A client that joins gets everything since the last keyframe at once and then real time ("keyframe"), or
just what comes next ("now"). The access units of a file are read once and pushed as they are.

stdout: one JSON object a line. First {"ports": {name: port}}, then {"reply": ...} to each command.
stdin: one JSON object a line:
  {"cmd": "stats"}                                  counts of every mount
  {"cmd": "set", "mount", "stalled": bool}          send nothing, keep the connection
  {"cmd": "set", "mount", "drop_keyframes": bool}   leave the keyframes out
  {"cmd": "set", "mount", "shift_s": float}         add to all timestamps from here on
  {"cmd": "kick", "mount"}                          close every connection
End of stdin ends the server, so it cannot outlive its test.
"""

import json
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

# Caps of a parsed stream -> (parser and its output caps, payloader).
FORMATS = {
    "video/x-h264": ("h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
                     "rtph264pay config-interval=-1 aggregate-mode=none"),
    "video/x-h265": ("h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au",
                     "rtph265pay config-interval=-1 aggregate-mode=none"),
    "image/jpeg": ("jpegparse", "rtpjpegpay"),
    "audio/mpeg": ("aacparse ! audio/mpeg,stream-format=raw", "rtpmp4gpay"),
    "audio/x-alaw": ("identity", "rtppcmapay"),
    "audio/x-mulaw": ("identity", "rtppcmupay"),
}
DEMUXERS = {"mp4": "qtdemux", "mov": "qtdemux", "mkv": "matroskademux", "h264": "typefind", "h265": "typefind"}
EPOCH_NS = Gst.SECOND  # of a media's timestamps, so that a dts below the first pts stays positive


class Unit:
    """An access unit (or an audio frame) of a clip."""

    __slots__ = ("stream", "data", "pts", "dts", "duration", "key")

    def __init__(self, stream, data, pts, dts, duration, key):
        self.stream, self.data, self.pts, self.dts, self.duration, self.key = stream, data, pts, dts, duration, key


class Clip:
    """All access units of a file in the order they are sent, and the length of one round."""

    def __init__(self, path, fps, want_video, want_audio):
        self.streams = []  # (kind, caps text, payloader)
        self.units = []
        demuxer = DEMUXERS[path.rsplit(".", 1)[-1]]
        pipeline = Gst.parse_launch(f"filesrc name=src ! {demuxer} name=parse")
        pipeline.get_by_name("src").set_property("location", path)
        sinks = []

        def pad_added(_element, pad, name=None):
            name = name or (pad.get_current_caps() or pad.query_caps(None)).get_structure(0).get_name()
            kind = "audio" if name.startswith("audio") else "video"
            wanted = {"video": want_video, "audio": want_audio}[kind] and name in FORMATS
            chain = FORMATS[name][0] + " ! appsink name=out sync=false async=false" if wanted else "fakesink sync=false async=false"
            tail = Gst.parse_bin_from_description(chain, True)
            pipeline.add(tail)
            tail.sync_state_with_parent()
            pad.link(tail.get_static_pad("sink"))
            if wanted:
                sinks.append((kind, name, tail.get_by_name("out")))

        ready = threading.Event()
        parse = pipeline.get_by_name("parse")
        if demuxer == "typefind":
            def have_type(_element, _probability, caps):
                pad_added(parse, parse.get_static_pad("src"), caps.get_structure(0).get_name())
                ready.set()
            parse.connect("have-type", have_type)
        else:
            parse.connect("pad-added", pad_added)
            parse.connect("no-more-pads", lambda *_: ready.set())
        pipeline.set_state(Gst.State.PLAYING)
        if not ready.wait(20):
            fault = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
            raise SystemExit(f"{path}: no streams found: {fault and fault.parse_error()}")
        for kind, name, sink in sinks:
            index = len(self.streams)
            number = 0
            caps = None
            while True:
                sample = sink.emit("pull-sample")
                if sample is None:
                    break
                caps = caps or sample.get_caps().to_string()
                buffer = sample.get_buffer()
                data = buffer.extract_dup(0, buffer.get_size())
                pts, dts = buffer.pts, buffer.dts
                if pts == Gst.CLOCK_TIME_NONE:
                    pts = int(number * Gst.SECOND / fps)
                if dts == Gst.CLOCK_TIME_NONE:
                    dts = pts
                duration = buffer.duration
                if duration == Gst.CLOCK_TIME_NONE:
                    duration = int(Gst.SECOND / fps)
                key = kind == "audio" or not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
                self.units.append(Unit(index, data, pts, dts, duration, key))
                number += 1
            self.streams.append((kind, caps, FORMATS[name][1]))
        pipeline.set_state(Gst.State.NULL)
        if not self.units:
            raise SystemExit(f"{path}: nothing to play")
        video = [u for u in self.units if self.streams[u.stream][0] == "video"] or self.units
        self.lead = [u for u in self.units if u.stream == video[0].stream]
        start = min(u.dts for u in self.lead)
        self.length = max(u.dts + u.duration for u in self.lead) - start
        for unit in self.units:
            unit.pts -= start
            unit.dts -= start
        self.units = [u for u in self.units if u.dts < self.length]
        self.units.sort(key=lambda u: u.dts)
        self.lead_stream = video[0].stream


class Player:
    """One client's pipeline."""

    def __init__(self, sources):
        self.sources = sources
        self.base = None  # pts of the mount that is EPOCH_NS of the player
        self.first = None  # index of the first lead unit


class Mount:
    """A camera: one clip, one clock, one server."""

    def __init__(self, config):
        self.name = config["name"]
        self.clip = Clip(config["file"], config.get("fps") or 25, config.get("video", True), config.get("audio", True))
        self.loop = config.get("loop", True)
        self.join = config.get("join") or "keyframe"
        self.stalled = False
        self.drop_keyframes = config.get("drop_keyframes", False)
        self.shift = 0
        self.lock = threading.Condition()
        self.players = []
        self.since_key = []  # (unit, round's offset, lead index, shift) since the last keyframe
        self.sent = 0  # lead access units whose time has come
        self.skipped = 0  # of those, left out by a stall or drop_keyframes
        self.connections = 0
        self.plays = 0
        self.clients = set()
        self.started = False
        self.ended = False

        self.server = GstRtspServer.RTSPServer()
        self.server.set_address("127.0.0.1")
        self.server.set_service("0")
        self.factory = Factory(self)
        auth_kind = config.get("auth")
        if auth_kind:
            self.require(auth_kind, config["user"], config["password"])
        self.server.get_mount_points().add_factory("/" + self.name, self.factory)
        self.server.connect("client-connected", self.client_connected)
        self.server.attach(None)
        self.port = self.server.get_bound_port()

    def require(self, kind, user, password):
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if kind == "digest":
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        self.server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        self.factory.set_permissions(permissions)

    def client_connected(self, _server, client):
        with self.lock:
            self.connections += 1
            self.clients.add(client)
        client.connect("closed", self.client_closed)
        client.connect("play-request", self.client_plays)

    def client_closed(self, client):
        with self.lock:
            self.clients.discard(client)

    def client_plays(self, _client, _context):
        with self.lock:
            self.plays += 1

    def add(self, player):
        with self.lock:
            self.players.append(player)
            if self.join == "keyframe":
                for entry in self.since_key:
                    self.push(player, *entry)
            if not self.started:
                self.started = True
                threading.Thread(target=self.run, daemon=True).start()

    def remove(self, player):
        with self.lock:
            if player in self.players:
                self.players.remove(player)

    def push(self, player, unit, offset, index, shift):
        if player.base is None:
            if unit.stream != self.clip.lead_stream:
                return
            player.base = unit.dts + offset + shift
            player.first = index
        buffer = Gst.Buffer.new_wrapped(unit.data)
        buffer.pts = max(0, unit.pts + offset + shift - player.base + EPOCH_NS)
        buffer.dts = max(0, unit.dts + offset + shift - player.base + EPOCH_NS)
        buffer.duration = unit.duration
        if not unit.key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        player.sources[unit.stream].emit("push-buffer", buffer)

    def run(self):
        start = time.monotonic()
        round_number = 0
        while True:
            offset = round_number * self.clip.length
            for unit in self.clip.units:
                wait = start + (unit.dts + offset) / 1e9 - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                with self.lock:
                    lead = unit.stream == self.clip.lead_stream
                    if self.stalled or (lead and unit.key and self.drop_keyframes):
                        self.skipped += lead
                    else:
                        if lead and unit.key:
                            self.since_key = []
                        entry = (unit, offset, self.sent, self.shift)
                        self.since_key.append(entry)
                        for player in self.players:
                            self.push(player, *entry)
                    self.sent += lead
            round_number += 1
            if not self.loop:
                break
        with self.lock:
            self.ended = True
            for player in self.players:
                for source in player.sources:
                    source.emit("end-of-stream")

    def stats(self):
        with self.lock:
            return {
                "connections": self.connections,
                "open": len(self.clients),
                "plays": self.plays,
                "sent": self.sent,
                "skipped": self.skipped,
                "clip_units": len(self.clip.lead),
                "first": [p.first for p in self.players if p.first is not None],
                "ended": self.ended,
            }

    def kick(self):
        with self.lock:
            clients = list(self.clients)
        for client in clients:
            client.close()


class Factory(GstRtspServer.RTSPMediaFactory):
    """Makes the pipeline of one client: an appsrc and a payloader a stream."""

    def __init__(self, mount):
        super().__init__()
        self.mount = mount
        self.set_shared(False)
        self.set_latency(0)
        self.set_protocols(GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP)

    def do_create_element(self, _url):
        parts = []
        for index, (_kind, caps, payloader) in enumerate(self.mount.clip.streams):
            parts.append(f'appsrc name=src{index} is-live=true format=time max-bytes=0 max-buffers=0 caps="{quote(caps)}" '
                         f"! {payloader} name=pay{index} pt={96 + index} ")
        return Gst.parse_launch("( " + " ".join(parts) + " )")

    def do_configure(self, media):
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)
        element = media.get_element()
        sources = [element.get_by_name(f"src{i}") for i in range(len(self.mount.clip.streams))]
        player = Player(sources)
        media.connect("unprepared", lambda *_: self.mount.remove(player))
        media.connect("new-state", lambda m, _state: self.unsync(m))
        self.mount.add(player)

    def unsync(self, media):
        """The mount paces what it sends; a sink that paced it again would hold back jumps of time."""
        top = media.get_element()
        while top.get_parent() is not None:
            top = top.get_parent()
        sinks = top.iterate_sinks() if isinstance(top, Gst.Bin) else None
        while sinks is not None:
            result, sink = sinks.next()
            if result != Gst.IteratorResult.OK:
                break
            if sink.find_property("sync") is not None:
                sink.set_property("sync", False)


def quote(caps):
    return caps.replace('"', '\\"')


def say(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def obey(mounts, command):
    what = command["cmd"]
    if what == "stats":
        return {name: mount.stats() for name, mount in mounts.items()}
    mount = mounts[command["mount"]]
    if what == "kick":
        mount.kick()
    elif what == "set":
        with mount.lock:
            if "stalled" in command:
                mount.stalled = command["stalled"]
            if "drop_keyframes" in command:
                mount.drop_keyframes = command["drop_keyframes"]
            if "shift_s" in command:
                mount.shift += int(command["shift_s"] * 1e9)
    else:
        return {"error": f"unknown command {what}"}
    return {"ok": True}


def main():
    Gst.init(None)
    with open(sys.argv[1], encoding="utf-8") as config:
        mounts = {m["name"]: Mount(m) for m in json.load(config)["mounts"]}
    loop = GLib.MainLoop()

    def listen():
        for line in sys.stdin:
            try:
                reply = obey(mounts, json.loads(line))
            except Exception as error:  # a test must hear of it, not wait for it
                reply = {"error": repr(error)}
            say({"reply": reply})
        loop.quit()

    say({"ports": {name: mount.port for name, mount in mounts.items()}})
    threading.Thread(target=listen, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
