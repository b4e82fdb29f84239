#!/usr/bin/python3
"""One libtorrent session as a DHT node, driven by lines of JSON.

usage: libtorrent_peer.py ADDRESS:PORT [BOOTSTRAP:PORT]

The first line written is {"ready": "ADDRESS:PORT"}. Each line read is one request, answered by one
line; tests/src/dht_peers/driver.rs has the list. Filters for addresses that do not look public are
off, as are libtorrent's own brakes on a neighbour that asks often: a laboratory has few addresses.
A node that is silent once leaves the table: libtorrent takes in whoever sends it a put, also one
that says that it only asks (BEP 43).
"""

import hashlib
import json
import sys
import time

import libtorrent as lt

# Seconds for one operation: several of libtorrent's own time-outs.
LIMIT = 20

# Seconds for a newer one of an item that was found: libtorrent itself waits 15 for a silent node,
# which leaves the table at the second of its ticks of a second.
NEWER_LIMIT = 2.5

# Field and curve of RFC 8032; only the public key is computed here, libtorrent signs.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
BASE_Y = 4 * pow(5, -1, P) % P


def recover_x(y):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x % 2 == 0 else P - x


def add(a, b):
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def public_key(scalar):
    point, total = (recover_x(BASE_Y), BASE_Y), (0, 1)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return (total[1] | (total[0] & 1) << 255).to_bytes(32, "little")


def expanded(secret):
    """A seed of 32 bytes becomes scalar and prefix; 64 bytes are taken as they are."""
    if len(secret) == 64:
        return secret
    key = bytearray(hashlib.sha512(secret).digest())
    key[0] &= 248
    key[31] = key[31] & 63 | 64
    return bytes(key)


class Peer:
    def __init__(self, listen):
        self.session = lt.session(
            {
                "listen_interfaces": listen,
                "enable_dht": True,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "dht_bootstrap_nodes": "",
                "dht_ignore_dark_internet": False,
                "dht_restrict_routing_ips": False,
                "dht_restrict_search_ips": False,
                "dht_enforce_node_id": False,
                "dht_prefer_verified_node_ids": False,
                "dht_upload_rate_limit": 10_000_000,
                "dht_block_ratelimit": 100_000,
                "dht_max_fail_count": 1,
                "alert_queue_size": 100_000,
                "alert_mask": lt.alert.category_t.dht_notification
                | lt.alert.category_t.dht_operation_notification
                | lt.alert.category_t.status_notification
                | lt.alert.category_t.error_notification,
            }
        )

    def await_alert(self, wanted, limit=LIMIT):
        """The first alert that `wanted` makes something of."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            self.session.wait_for_alert(100)
            for alert in self.session.pop_alerts():
                found = wanted(alert)
                if found is not None:
                    return found
        raise TimeoutError(f"no answer in {limit} s")

    def nodes(self, _):
        self.session.post_dht_stats()

        def count(alert):
            if isinstance(alert, lt.dht_stats_alert):
                return sum(bucket["num_nodes"] for bucket in alert.routing_table)
            return None

        return {"nodes": self.await_alert(count)}

    def put(self, request):
        target = self.session.dht_put_immutable_item(request["value"].encode())
        stored = self.await_alert(lambda alert: self.put_count(alert, str(target)))
        return {"target": str(target), "stored": stored}

    def get(self, request):
        target = lt.sha1_hash(bytes.fromhex(request["target"]))
        self.session.dht_get_immutable_item(target)

        def value(alert):
            if isinstance(alert, lt.dht_immutable_item_alert) and alert.target == target:
                return {"value": content(alert, "value")}
            return None

        return self.await_alert(value)

    def put_mutable(self, request):
        secret = expanded(bytes.fromhex(request["secret"]))
        public = public_key(int.from_bytes(secret[:32], "little"))
        salt = request["salt"].encode()
        self.session.dht_put_mutable_item(secret, public, request["value"].encode(), salt)

        def done(alert):
            if isinstance(alert, lt.dht_put_alert) and bytes(alert.public_key) == public:
                return {"public": public.hex(), "seq": alert.seq, "stored": alert.num_success}
            return None

        return self.await_alert(done)

    def get_mutable(self, request):
        public, salt = bytes.fromhex(request["public"]), request["salt"]
        self.session.dht_get_mutable_item(public, salt.encode())
        best = {"value": None, "seq": None}

        def is_last(alert):
            if not isinstance(alert, lt.dht_mutable_item_alert):
                return None
            if (bytes(alert.key), alert.salt) != (public, salt):
                return None
            found = content(alert, "value")
            if found is not None and (best["seq"] is None or alert.seq >= best["seq"]):
                best.update(value=found, seq=alert.seq)
            return alert.authoritative if found is not None else alert.authoritative or None

        if not self.await_alert(is_last):
            try:
                self.await_alert(lambda alert: is_last(alert) or None, limit=NEWER_LIMIT)
            except TimeoutError:
                pass
        return best

    def announce(self, request):
        # The bindings of 2.0 cannot call dht_announce, so a torrent announces itself, with the
        # port that the session listens on. It has no report of success: the tester looks for it.
        uri = f"magnet:?xt=urn:btih:{request['hash']}"
        torrent = lt.parse_magnet_uri(uri)
        torrent.save_path = "."
        torrent.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
        self.session.add_torrent(torrent).force_dht_announce()
        return {"announced": self.session.listen_port()}

    def peers(self, request):
        info_hash = lt.sha1_hash(bytes.fromhex(request["hash"]))
        self.session.dht_get_peers(info_hash)
        found = set()

        def reply(alert):
            if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.info_hash == info_hash:
                found.update(f"{address}:{port}" for address, port in alert.peers())
                return True
            return None

        # One alert a reply, and none at the end: what came in the time given counts.
        deadline = time.monotonic() + request.get("seconds", 2)
        while time.monotonic() < deadline and not found:
            try:
                self.await_alert(reply, limit=max(deadline - time.monotonic(), 0.1))
            except TimeoutError:
                break
        return {"peers": sorted(found)}

    @staticmethod
    def put_count(alert, target):
        if isinstance(alert, lt.dht_put_alert) and str(alert.target) == target:
            return alert.num_success
        return None


def content(alert, field):
    """What was found; the bindings raise an error where nothing was."""
    try:
        found = alert.item[field]
    except RuntimeError:
        return None
    return found.decode(errors="replace") if isinstance(found, bytes) else found


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    listen = sys.argv[1]
    peer = Peer(listen)

    def listens(alert):
        is_udp = isinstance(alert, lt.listen_succeeded_alert)
        return True if is_udp and alert.socket_type == lt.socket_type_t.udp else None

    peer.await_alert(listens)
    if len(sys.argv) > 2:
        # As a node like any other: those of the setting dht_bootstrap_nodes never enter its table.
        address, port = sys.argv[2].rsplit(":", 1)
        peer.session.add_dht_node((address, int(port)))
    say({"ready": listen})
    verbs = {
        "nodes": peer.nodes,
        "put": peer.put,
        "get": peer.get,
        "put_mutable": peer.put_mutable,
        "get_mutable": peer.get_mutable,
        "announce": peer.announce,
        "peers": peer.peers,
    }
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        try:
            say(verbs[request["do"]](request))
        except Exception as error:  # every failure is the tester's to judge
            say({"error": f"{type(error).__name__}: {error}"})


main()
